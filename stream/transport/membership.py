"""Whether a worker may still take its partitions for its own.

A worker that was frozen, or cut off from its broker, learns that its partitions have gone to another only when it talks
to the broker again; until then it may hold work that somebody else is doing too. So it produces nothing when half of
the session timeout has passed without a heartbeat that the broker took: the other half is for what is already on its
way.
"""

import time
from collections.abc import Callable


class Membership:
    """When the group's coordinator was last seen to count on this worker.

    Args:
        session_timeout_s: without a heartbeat for so long, the coordinator gives the partitions to others.
        clock: seconds that go on while the process is stopped, as CLOCK_MONOTONIC does.

    """

    def __init__(self, session_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._trusted_s = session_timeout_s / 2
        self._clock = clock
        self._confirmed_at = -session_timeout_s

    def now(self) -> float:
        """Return the clock's time, to be given to `confirm` when the answer has come."""
        return self._clock()

    def confirm(self, asked_at: float) -> None:
        """Note that the coordinator took a request of ours as a member's; the request's own time counts."""
        self._confirmed_at = max(self._confirmed_at, asked_at)

    @property
    def fresh(self) -> bool:
        """Whether this worker may produce."""
        return self._clock() - self._confirmed_at < self._trusted_s
