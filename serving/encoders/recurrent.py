"""A recurrent encoder in its step form: one step for each event, the state carried from click to click.

The network is an ONNX file with `x [B, input_dim]` and `state [B, state_size]` in, `state_out` and
`vector [B, dim]` out, all float32; the first state is zeros. It takes vectors of events, not rows of items, so that an
item that the network has never seen can be stepped through as soon as it has a vector.

A reading is a sum of steps and nothing else, so carried and read again, alone and in a batch, padded and not are the
same bits wherever ONNX Runtime computes a row of a batch like the row alone: tests/serving/test_encoders.py checks it.
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from serving.encoders.events import Event, EventTables, RowsOf, Vectors
from serving.encoders.reading import Reading
from serving.encoders.runtime import check_tensors, floats, load_network
from serving.session import Carried, Moment, window_start


class _Lane(msgspec.Struct, gc=False):
    """The encoder's state, as bytes, from one starting event of a session on.

    `pending` are events on known items that are still to be stepped through. `vector` came with the state; it is None
    where the state was carried, or nothing was known yet.
    """

    start: int
    state: bytes
    pending: list[Event]
    vector: Vectors | None = None


class RecurrentEncoder:
    """Runs `encoder.step.onnx` over sessions, batch by batch.

    Args:
        onnx: the file's bytes.
        tables: the input vectors of events.
        state_size: numbers in a state.
        dim: numbers in a session vector.
        window: the number of events that it reads at most (`serving.session.window_start`).
        bundle: the bundle's id, which tags the states that are carried.

    Raises:
        BundleError: the file is no network of that form.

    """

    carries: ClassVar[bool] = True
    """What a click leaves is needed for the next one, whether it is answered or not."""

    def __init__(
        self, onnx: bytes, tables: EventTables, *, state_size: int, dim: int, window: int, bundle: str
    ) -> None:
        self._tables = tables
        self._state_size = state_size
        self._dim = dim
        self._window = window
        self._bundle = bundle
        self._session = load_network(onnx, "encoder.step.onnx")
        check_tensors(
            self._session,
            "encoder.step.onnx",
            {
                "x": floats(2, tables.width),
                "state": floats(2, state_size),
                "state_out": floats(2, state_size),
                "vector": floats(2, dim),
            },
        )
        self._zeros = bytes(4 * state_size)

    def step(self, events: Sequence[Event], states: Vectors) -> tuple[Vectors, Vectors]:
        """Step `[B]` events into states `[B, state_size]`; return the new states and the vectors `[B, dim]`."""
        x = self._tables.vectors(events)
        state_out, vector = self._session.run(("state_out", "vector"), {"x": x, "state": states})
        return state_out, vector

    def encode(self, readings: Sequence[Reading], rows_of: RowsOf) -> tuple[Vectors, list[bool]]:
        """Return the session vectors of all moments, `[n, dim]`, each in the place that its `at` says, and which exist.

        A moment has no vector where no item of its window is known. As many calls of the network as the longest run of
        one session's clicks, where states are carried; a session without one is read again from its window's start.
        `readings[i].carried` becomes what its last moment leaves.
        """
        count = sum([len(reading.moments) for reading in readings])
        vectors, known = np.zeros((count, self._dim), np.float32), [False] * count
        lanes = [self._resume(reading) for reading in readings]
        for turn in range(max([len(reading.moments) for reading in readings], default=0)):
            stepped: list[_Lane] = []
            answering: list[tuple[int, _Lane]] = []
            for i, reading in enumerate(readings):
                if turn < len(reading.moments):
                    moment = reading.moments[turn]
                    lanes[i] = self._advance(lanes[i], moment, rows_of)
                    stepped += lanes[i]
                    answering.append((moment.at, lanes[i][0]))
            self._run([lane for lane in stepped if lane.pending])
            for at, lane in answering:
                if lane.vector is not None:
                    vectors[at], known[at] = lane.vector, True
        for reading, final in zip(readings, lanes, strict=True):
            reading.carried = [Carried(self._bundle, lane.start, lane.state) for lane in final]
        return vectors, known

    def _resume(self, reading: Reading) -> list[_Lane]:
        before = reading.moments[0].count - 1
        return [
            _Lane(carried.start, carried.state, [])
            for carried in reading.carried
            if carried.bundle == self._bundle and carried.start < before
        ]

    def _advance(self, lanes: Sequence[_Lane], moment: Moment, rows_of: RowsOf) -> list[_Lane]:
        """Return the lanes that the moment needs, each with the items that it must still step through.

        They are the one of its window, which gives the vector, and, once it has begun, that of the window after it.
        """
        start = window_start(moment.count, self._window)
        following = start + self._window // 2
        starts = (start, following) if following < moment.count else (start,)
        if moment.count == 1:
            lanes = ()  # of the session before, which has ended within the batch
        return [self._lane(start, lanes, moment, rows_of) for start in starts]

    def _lane(self, start: int, lanes: Sequence[_Lane], moment: Moment, rows_of: RowsOf) -> _Lane:
        for lane in lanes:
            if lane.start == start:
                if moment.row:
                    lane.pending = [self._tables.newest(moment, start, rows_of)]
                    return lane
                if lane.vector is not None:
                    return lane
        # Nothing carried, or an unknown item after a state that came without its vector: read the window again.
        return _Lane(start, self._zeros, self._tables.known(moment, start, rows_of))

    def _run(self, lanes: list[_Lane]) -> None:
        """Step all lanes through their pending events, one column of events a call."""
        size = len(self._zeros)
        for column in range(max([len(lane.pending) for lane in lanes], default=0)):
            batch = [lane for lane in lanes if column < len(lane.pending)]
            before = np.frombuffer(b"".join([lane.state for lane in batch]), "<f4").reshape(-1, self._state_size)
            after, vectors = self.step([lane.pending[column] for lane in batch], before)
            states = after.tobytes()
            for i, lane in enumerate(batch):
                lane.state, lane.vector = states[i * size : (i + 1) * size], vectors[i]
        for lane in lanes:
            lane.pending = []
