"""Waiting for an effect that a fault must have or must not prevent."""

import time
from collections.abc import Callable


def wait_until(effect: Callable[[], object], within_s: float, what: str | Callable[[], str]) -> None:
    """Wait until the effect is true; `TimeoutError` says what was waited for."""
    deadline = time.monotonic() + within_s
    while not effect():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s in vain until {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
