"""What is left out when clicks come faster than they can be answered."""

import time
from collections.abc import Callable
from typing import NamedTuple

from serving.process import EVERY, Mode
from stream.settings import OverloadSettings


class Plan(NamedTuple):
    """How a batch is answered: its mode, and since when the broker must have had a click for it to get a list."""

    mode: Mode
    wanted_since_ms: int | None


class Overload:
    """Decides, batch by batch, from how many clicks are waiting.

    Args:
        settings: what to leave out, and from when on.
        lag: returns how many clicks wait at the brokers.
        now: the time, in seconds since the epoch.

    """

    def __init__(
        self, settings: OverloadSettings, lag: Callable[[], int], now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._lag = lag
        self._now = now
        self._watches = settings.latest_above_lag is not None or settings.shed_above_lag is not None
        self._always = Mode(settings.emit)

    def plan(self) -> Plan:
        """Return how the next batch is answered."""
        return Plan(self._mode() if self._watches else self._always, self._wanted_since_ms())

    def _mode(self) -> Mode:
        lag = self._lag()
        latest = self._settings.emit == "latest" or _above(lag, self._settings.latest_above_lag)
        shed = _above(lag, self._settings.shed_above_lag)
        return Mode("latest" if latest else "every", shed) if latest or shed else EVERY

    def _wanted_since_ms(self) -> int | None:
        oldest_s = self._settings.max_age_s
        return None if oldest_s is None else round((self._now() - oldest_s) * 1000)


def _above(lag: int, limit: int | None) -> bool:
    return limit is not None and lag > limit
