"""What a network reads for an event: the vector of its item, and those of its type and of the silence before it.

They are summed here, outside the network, so one form of every network serves with and without them, and training and
serving share the very rules by which a type or a silence finds its vector.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from serving.session import Moment

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

RowsOf = Callable[[Sequence[str]], Sequence[int]]
"""Rows of items, in order; 0 for those that the catalogue does not know."""

Event = tuple[int, int, int]
"""An event as tables know it: the row of its item, the number of its type and of the silence before it."""

_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86_400
SILENCES_S = (
    *(_SECOND, 2, 5, 10, 20, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 3 * _HOUR, 12 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY),
)
"""Where one number of a silence ends and the next begins. Seconds."""
_SILENCES_MS = [1000 * seconds for seconds in SILENCES_S]

SILENCES = len(SILENCES_S) + 2
"""Numbers of silences: 0 for a window's first event, then from under a second to over 30 days."""

AGE_RATIO = 1.35
AGES = 64
"""Numbers of ages: 0 for under a second, each next one's bound `AGE_RATIO` times the last one's, up to five years."""
_AGES_MS = (1000 * AGE_RATIO ** np.arange(AGES - 1)).astype(np.int64)


def silence(before_ms: int, now_ms: int) -> int:
    """Return the number of the silence between two events; a click that comes late has none to speak of."""
    return 1 + bisect_right(_SILENCES_MS, now_ms - before_ms)


def silences(times_ms: Ints) -> Ints:
    """Return the number of the silence before each event of one window, `[n]` to `[n]`."""
    numbers = np.zeros(len(times_ms), dtype=np.int64)
    numbers[1:] = 1 + np.searchsorted(_SILENCES_MS, np.diff(times_ms), side="right")
    return numbers


def ages(asked_ms: Ints, times_ms: Ints) -> Ints:
    """Return the number of each event's age at each moment: `[..., Q]` and `[..., K]` to `[..., Q, K]`."""
    return np.searchsorted(_AGES_MS, asked_ms[..., :, None] - times_ms[..., None, :], side="right")


class EventTables:
    """The input vectors of events.

    Args:
        items: by row, float32 `[N + 1, width]`.
        types: by the number of an event's type, `[len(event_types) + 1, width]`, row 0 for types that are not known;
            None where the network does not ask.
        silences: by the number of a silence, `[SILENCES, width]`, or None.
        event_types: the types that are known; the first has number 1.

    """

    def __init__(
        self,
        items: Vectors,
        types: Vectors | None = None,
        silences: Vectors | None = None,
        event_types: Sequence[str] = (),
    ) -> None:
        self._items = items
        self._types = types
        self._silences = silences
        self._numbers = {event_type: number for number, event_type in enumerate(event_types, start=1)}
        self._items_only = types is None and silences is None

    @property
    def width(self) -> int:
        """Numbers in an input vector."""
        return int(self._items.shape[1])

    def vectors(self, events: Sequence[Event]) -> Vectors:
        """Return the events' input vectors, float32 `[n, width]`."""
        if self._items_only:
            return self._items[[event[0] for event in events]]
        rows, types, silences = np.array(events, dtype=np.int64).reshape(-1, 3).T
        vectors: Vectors = self._items[rows]
        if self._types is not None:
            vectors = vectors + self._types[types]
        if self._silences is not None:
            vectors = vectors + self._silences[silences]
        return vectors

    def newest(self, moment: Moment, start: int, rows_of: RowsOf) -> Event:
        """Return the moment's newest event, on a known item, in a window that starts at event `start` of the session.

        Its silence reaches back to the last event on a known item: of others an encoder knows nothing, in training
        neither.
        """
        if self._items_only:
            return moment.row, 0, 0
        number = self._numbers.get(moment.last_types(1)[0], 0)
        count = moment.count - start
        for looked_at in (2, count):  # nearly always the event right before it is one
            rows = rows_of(moment.last(min(looked_at, count)))[:-1]
            known = [place for place, row in enumerate(rows) if row]
            if known:
                times = moment.last_times(len(rows) + 1)
                return moment.row, number, silence(times[known[-1]], times[-1])
        return moment.row, number, 0

    def known(self, moment: Moment, start: int, rows_of: RowsOf) -> list[Event]:
        """Return the events from event `start` of the session on whose items the catalogue knows, oldest first."""
        rows = rows_of(moment.since(start))
        if self._items_only:
            return [(row, 0, 0) for row in rows if row]
        count = moment.count - start
        known = np.array(rows, dtype=np.int64) > 0
        types = [self._numbers.get(event_type, 0) for event_type in moment.last_types(count)]
        quiet = silences(np.array(moment.last_times(count), dtype=np.int64)[known])
        numbers = np.array(types, dtype=np.int64)[known]
        return list(zip([row for row in rows if row], numbers.tolist(), quiet.tolist(), strict=True))
