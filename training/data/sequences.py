"""From a click log to arrays: the catalogue, sessions as item rows, and which events each training target may see.

The last part is `serving.session.windows`, the very rule by which a worker decides how far back a recurrent encoder
looks. An encoder that reads its window anew at each click is served the last events of a session instead, the whole
window; in training, which learns from many clicks at once, each click of a long session sees at least half of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from serving.catalogue import Catalogue
from serving.session import windows

Rows = npt.NDArray[np.int64]
"""Item rows of one session, oldest first; 0 is an unknown item."""


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one session, oldest first: rows of their items (0 is unknown), numbers of their types, times.

    A type's number is its place, from 1, among those that training has seen, 0 for others. Times are milliseconds.
    """

    rows: Rows
    types: Rows
    times: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def before(self, event: int) -> "Events":
        """Return the events before one of them."""
        return Events(self.rows[:event], self.types[:event], self.times[:event])

    def since(self, event: int) -> "Events":
        """Return one of the events and all after it."""
        return Events(self.rows[event:], self.types[event:], self.times[event:])


class Window(NamedTuple):
    """One piece of a session to train on: `rows[start:stop - 1]` go in, targets are the events `first..stop - 1`.

    `start < first < stop`; the targets of a session's windows are its events 1..n-1, each exactly once.
    """

    start: int
    first: int
    stop: int


def build_catalogue(frame: pl.DataFrame, before: Catalogue | None = None) -> Catalogue:
    """Return the log's items, numbered 1..N in the order in which it first shows them.

    Items of a catalogue `before` keep their rows. Those that the log does not have leave, and new ones take the freed
    rows in their order, then the rows behind. Where more left than came, the items of the last rows fill the gaps.
    """
    shown: list[str] = frame.get_column("item_id").unique(maintain_order=True).to_list()
    if before is None:
        return Catalogue(shown)
    rows = before.rows_of(shown)
    placed = [""] * (len(shown) + 1)
    for item_id, row in zip(shown, rows, strict=True):
        if 0 < row < len(placed):
            placed[row] = item_id
    new = [item_id for item_id, row in zip(shown, rows, strict=True) if row == 0]
    last = sorted((row, item_id) for item_id, row in zip(shown, rows, strict=True) if row >= len(placed))
    filling = iter([*new, *(item_id for _, item_id in last)])
    return Catalogue([item_id or next(filling) for item_id in placed[1:]])


def event_types(frame: pl.DataFrame) -> list[str]:
    """Return the log's event types, the most frequent first."""
    counts = frame.get_column("event_type").value_counts()
    return counts.sort(["count", "event_type"], descending=[True, False]).get_column("event_type").to_list()


def to_events(
    frame: pl.DataFrame, catalogue: Catalogue, types: Sequence[str], *, keep_unknown: bool = False
) -> list[Events]:
    """Return each session's events; sessions in the order of their first click.

    Clicks on unknown items are left out, as an encoder never sees them; `keep_unknown` keeps them as row 0, so that
    an evaluation can count them.
    """
    rows = catalogue.rows(frame.get_column("item_id"))
    if not keep_unknown:
        known = rows > 0
        frame, rows = frame.filter(pl.Series(known, dtype=pl.Boolean)), rows[known]
    number = {event_type: number for number, event_type in enumerate(types, start=1)}
    numbers = frame.get_column("event_type").replace_strict(number, default=0, return_dtype=pl.Int64).to_numpy()
    times = frame.get_column("timestamp_ms").to_numpy()
    columns = (split_by_session(frame, column) for column in (rows, numbers, times))
    return [Events(*session) for session in zip(*columns, strict=True)]


def to_sequences(frame: pl.DataFrame, catalogue: Catalogue, *, keep_unknown: bool = False) -> list[Rows]:
    """Return each session's item rows, oldest first; sessions in the order of their first click.

    Clicks on unknown items are left out, as an encoder never sees them; `keep_unknown` keeps them as row 0, so that
    an evaluation can count them.
    """
    rows = catalogue.rows(frame.get_column("item_id"))
    if not keep_unknown:
        known = rows > 0
        frame, rows = frame.filter(pl.Series(known, dtype=pl.Boolean)), rows[known]
    return split_by_session(frame, rows)


def split_by_session(frame: pl.DataFrame, values: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Cut an array with one value per click into one array per session, in the order of the sessions' first clicks."""
    if frame.height == 0:
        return []
    session = session_numbers(frame)
    order = np.argsort(session, kind="stable")
    borders = np.flatnonzero(np.diff(session[order])) + 1
    return np.split(values[order], borders)


def session_ends(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return when each session had its last click, UTC epoch milliseconds, in the order of their first clicks."""
    times = split_by_session(frame, frame.get_column("timestamp_ms").to_numpy())
    return np.array([session[-1] for session in times], dtype=np.int64)


def session_numbers(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return each click's session as a number 0, 1, 2, ..., in the order in which the frame first shows them."""
    if frame.height == 0:
        return np.zeros(0, dtype=np.int64)
    sessions = frame.get_column("session_id")
    first = sessions.unique(maintain_order=True)
    return sessions.replace_strict(first, np.arange(len(first)), return_dtype=pl.Int64).to_numpy().astype(np.int64)


def popularity(sequences: Sequence[Rows], items: int) -> npt.NDArray[np.float32]:
    """Count the clicks of each item in training, `[items + 1]`; row 0 stays 0."""
    counts = np.zeros(items + 1, dtype=np.float32)
    if sequences:
        counts += np.bincount(np.concatenate(sequences), minlength=items + 1).astype(np.float32)
    counts[0] = 0
    return counts


@lru_cache(maxsize=4096)
def training_windows(events: int, length: int) -> tuple[Window, ...]:
    """Cut a session of `events` clicks into windows, by the rule by which a worker with window `length` reads it.

    The list after event k (the one that event k should be in) reads from `window_start(k, length)`, where k counts the
    events before it. A session of at most `length` + 1 clicks is one window.
    """
    pieces: list[Window] = []
    first = 1
    for start, end in windows(events - 1, length) if events > 1 else ():
        pieces.append(Window(start, first, end + 1))
        first = end + 1
    return tuple(pieces)
