"""An encoder in its window form: the last events of a session are read anew at every click, and nothing is carried.

The network is an ONNX file with `x [B, L, input_dim]` (float32, oldest first, padded on the right) and `last [B]`
(int64, the place of each session's newest event) in, `vector [B, dim]` out. One that looks at time also takes `ages
[B, L, L]` (int64): the number of event j's age (`serving.encoders.events.ages`) at the moment that belongs to event i.

A vector must not depend on who else is in a call. So a session is padded to a length that its own events alone decide,
and only sessions of one such length share a call: ONNX Runtime computes a row of a batch like the row alone, but sums
over 12 places in another order than over 16. tests/serving/test_encoders.py checks it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.encoders.events import Event, EventTables, Ints, RowsOf, Vectors, ages
from serving.encoders.reading import Reading
from serving.encoders.runtime import check_tensors, floats, integers, load_network
from serving.session import Moment, last_events

TimeOf = Literal["none", "last", "query"]
"""Which moment an age is counted at: the newest event's, or that of the query itself, which no stream knows before it
happens."""

PADDED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 200, 256, 320)
"""Lengths to which windows are padded, as far as they are shorter than the longest, which is the last such length."""
# One call reads so many events at most: its tensors stay in the cache.
_CALL_EVENTS = 4096


class Window(NamedTuple):
    """What is read of one session: its known events, at least one, and when they were, oldest first.

    `asked_ms` is the query's own time, for networks that ask for it.
    """

    events: Sequence[Event]
    times_ms: Ints
    asked_ms: int = 0


class WindowEncoder:
    """Runs `encoder.window.onnx` over sessions.

    Args:
        onnx: the file's bytes.
        tables: the input vectors of events.
        dim: numbers in a session vector.
        window: the number of events that it reads at most, the session's last.
        time_of: whether the network takes `ages`, and of which moment.

    Raises:
        BundleError: the file is no network of that form.

    """

    carries: ClassVar[bool] = False
    """Each vector is made from the session alone, so none is made that nobody asks for."""

    def __init__(self, onnx: bytes, tables: EventTables, *, dim: int, window: int, time_of: TimeOf) -> None:
        self._tables = tables
        self._dim = dim
        self._window = window
        self._time_of = time_of
        self._lengths = [*(length for length in PADDED if length < window), window]
        self._session = load_network(onnx, "encoder.window.onnx")
        timed = {"ages": integers(3)} if time_of != "none" else {}
        check_tensors(
            self._session,
            "encoder.window.onnx",
            {"x": floats(3, tables.width), "last": integers(1), **timed, "vector": floats(2, dim)},
        )

    def encode(
        self, readings: Sequence[Reading], rows_of: RowsOf, *, asked_ms: Sequence[int] | None = None
    ) -> tuple[Vectors, list[bool]]:
        """Return the session vectors of all moments, `[n, dim]`, each in the place that its `at` says, and which exist.

        A moment has no vector where no item of its window is known. `readings[i].carried` becomes empty. `asked_ms` are
        the queries' own times by `at`, for networks that ask for them; without, they are the newest events'.
        """
        count = sum([len(reading.moments) for reading in readings])
        vectors, known = np.zeros((count, self._dim), np.float32), [False] * count
        asked: list[int] = []
        windows: list[Window] = []
        for reading in readings:
            reading.carried = []
            for moment in reading.moments:
                window = self._read(moment, rows_of, None if asked_ms is None else asked_ms[moment.at])
                if window.events:
                    asked.append(moment.at)
                    windows.append(window)
                    known[moment.at] = True
        if windows:
            vectors[asked] = self.vectors(windows)
        return vectors, known

    def vectors(self, windows: Sequence[Window]) -> Vectors:
        """Return the session vector of each window, `[n, dim]`."""
        vectors = np.zeros((len(windows), self._dim), np.float32)
        alike: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            alike.setdefault(self._lengths[bisect_left(self._lengths, len(window.events))], []).append(place)
        for length, places in alike.items():
            size = max(1, _CALL_EVENTS // length)
            for begin in range(0, len(places), size):
                part = places[begin : begin + size]
                vectors[part] = self._call([windows[place] for place in part], length)
        return vectors

    def _read(self, moment: Moment, rows_of: RowsOf, asked_ms: int | None) -> Window:
        start = last_events(moment.count, self._window)
        events = self._tables.known(moment, start, rows_of)
        if self._time_of == "none":
            return Window(events, _NO_TIMES)
        times = np.array(moment.last_times(moment.count - start), dtype=np.int64)
        known = np.array(rows_of(moment.since(start)), dtype=np.int64) > 0
        return Window(events, times[known], int(times[-1]) if asked_ms is None else asked_ms)

    def _call(self, windows: Sequence[Window], length: int) -> Vectors:
        """Run the network over windows of at most `length` events."""
        x = np.zeros((len(windows), length, self._tables.width), np.float32)
        for row, window in enumerate(windows):
            x[row, : len(window.events)] = self._tables.vectors(window.events)
        feeds: dict[str, npt.NDArray[np.generic]] = {
            "x": x,
            "last": np.array([len(window.events) - 1 for window in windows], dtype=np.int64),
        }
        if self._time_of != "none":
            feeds["ages"] = self._ages(windows, length)
        (vectors,) = self._session.run(("vector",), feeds)
        found: Vectors = vectors
        return found

    def _ages(self, windows: Sequence[Window], length: int) -> Ints:
        times = np.zeros((len(windows), length), dtype=np.int64)
        moments = np.zeros((len(windows), length), dtype=np.int64)
        for row, window in enumerate(windows):
            count = len(window.events)
            times[row, :count] = window.times_ms
            if self._time_of == "last":
                moments[row, :count] = window.times_ms
            else:
                moments[row, : count - 1] = window.times_ms[1:]
                moments[row, count - 1] = window.asked_ms
        return ages(moments, times)


_NO_TIMES = np.zeros(0, dtype=np.int64)
