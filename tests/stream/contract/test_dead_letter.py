from hypothesis import given
from hypothesis import strategies as st

from stream.contract.dead_letter import MAX_ERROR_BYTES, Cause, dead_letter_headers, read_cause, received_headers

RECEIVED = [("ce_id", b"e1"), ("trace", b"\xff"), ("trace", b"again")]
CAUSE = Cause("not_json", "the value is not JSON", "clicks", 3, 42)

received = st.lists(st.tuples(st.text(max_size=10).filter(lambda name: not name.startswith("nextclick-")), st.binary()))
causes = st.builds(Cause, st.text(), st.text(), st.text(), st.integers(0, 2**31), st.integers(0, 2**63))


@given(received=received, cause=causes)
def test_headers_give_back_what_was_received_and_why_it_died(received: list[tuple[str, bytes]], cause: Cause) -> None:
    headers = dead_letter_headers(received, cause)
    assert received_headers(headers) == received
    assert read_cause(headers) == cause


def test_a_record_that_dies_again_tells_its_last_cause_only() -> None:
    again = CAUSE._replace(offset=77)
    headers = dead_letter_headers(dead_letter_headers(RECEIVED, CAUSE), again)
    assert headers == dead_letter_headers(RECEIVED, again)


def test_a_long_error_is_cut_between_characters() -> None:
    error = "é" * MAX_ERROR_BYTES
    assert read_cause(dead_letter_headers([], CAUSE._replace(error=error))) == CAUSE._replace(
        error="é" * (MAX_ERROR_BYTES // 2)
    )


def test_a_record_that_is_no_dead_letter_has_no_cause() -> None:
    assert read_cause(RECEIVED) is None
    assert read_cause([*dead_letter_headers([], CAUSE)[:-1], ("nextclick-offset", b"x")]) is None


def test_a_header_without_a_value_is_left_out() -> None:
    assert received_headers([("empty", None), ("kept", b"")]) == [("kept", b"")]
