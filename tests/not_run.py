"""What a run of the tests leaves out, each reason once; `tests/conftest.py` shows it at the end."""

reasons: list[str] = []


def leave_out(reason: str) -> None:
    """Remember a reason for the summary."""
    if reason not in reasons:
        reasons.append(reason)
