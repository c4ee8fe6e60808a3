"""Wait for an effect, with a deadline: what tests do instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(effect: Callable[[], T], timeout_s: float = 30, *, every_s: float = 0.02) -> T:
    """Return the first true value of `effect()`; an AssertionError names it when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := effect()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {effect}; last value: {value!r}"
        time.sleep(every_s)
    return value
