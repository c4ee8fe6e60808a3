"""A recurrent encoder in its step form: one step for each event, the state carried from click to click.

The network is an ONNX file with `x [B, input_dim]` and `state [B, state_size]` in, `state_out` and
`vector [B, dim]` out, all float32; the first state is zeros. It takes vectors of items, not rows, so that an item
that the network has never seen can be stepped through as soon as it has a vector.

A reading is a sum of steps and nothing else, so carried and read again, alone and in a batch, padded and not are the
same bits wherever ONNX Runtime computes a row of a batch like the row alone: tests/serving/test_encoders.py checks it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serving.encoders.runtime import load_network
from serving.errors import BundleError
from serving.session import Carried, Interaction, Moment, window_start

Vectors = npt.NDArray[np.float32]
RowsOf = Callable[[Sequence[Interaction]], list[int]]
"""Rows of the interactions whose items the catalogue knows, in order."""


@dataclass(slots=True)
class Reading:
    """One session's new moments in a batch, in order, and what is carried from the last one (updated in place)."""

    moments: list[Moment]
    carried: list[Carried]


@dataclass(slots=True)
class _Lane:
    """The encoder's state from one starting event on, after `position` events of the session."""

    start: int
    position: int
    state: Vectors
    vector: Vectors | None = None
    pending: list[int] = field(default_factory=list)
    """Rows of the known items still to be stepped through."""


class RecurrentEncoder:
    """Runs `encoder.step.onnx` over sessions, batch by batch.

    Args:
        onnx: the file's bytes.
        inputs: input vectors of the items, float32 `[N + 1, input_dim]`.
        state_size: numbers in a state.
        dim: numbers in a session vector.
        window: the number of events that it reads at most (`serving.session.window_start`).
        bundle: the bundle's id, which tags the states that are carried.

    Raises:
        BundleError: the file is no network of that form.

    """

    def __init__(self, onnx: bytes, inputs: Vectors, *, state_size: int, dim: int, window: int, bundle: str) -> None:
        self._inputs = inputs
        self._state_size = state_size
        self._dim = dim
        self._window = window
        self._bundle = bundle
        self._session = load_network(onnx, "encoder.step.onnx")
        self._check()

    def _check(self) -> None:
        expected = {
            "x": self._inputs.shape[1],
            "state": self._state_size,
            "state_out": self._state_size,
            "vector": self._dim,
        }
        found = {
            tensor.name: tensor.shape[-1] for tensor in (*self._session.get_inputs(), *self._session.get_outputs())
        }
        if found != expected:
            raise BundleError(
                f"encoder.step.onnx has the tensors (name: width) {found}, the manifest says {expected}; "
                "export the bundle again"
            )

    def step(self, rows: Sequence[int], states: Vectors) -> tuple[Vectors, Vectors]:
        """Step `[B]` rows of items into states `[B, state_size]`; return the new states and the vectors `[B, dim]`."""
        state_out, vector = self._session.run(("state_out", "vector"), {"x": self._inputs[rows], "state": states})
        return state_out, vector

    def encode(self, readings: Sequence[Reading], rows_of: RowsOf) -> list[list[Vectors | None]]:
        """Return, for each reading and each of its moments, the session vector `[dim]`.

        None stands where no item of the moment's window is known. As many calls of the network as the longest run of
        one session's clicks, where states are carried; a session without one is read again from its window's start.
        `readings[i].carried` becomes what its last moment leaves.
        """
        vectors: list[list[Vectors | None]] = [[] for _ in readings]
        lanes = [list(self._resume(reading)) for reading in readings]
        for turn in range(max((len(reading.moments) for reading in readings), default=0)):
            active = [i for i, reading in enumerate(readings) if turn < len(reading.moments)]
            for i in active:
                lanes[i] = self._advance(lanes[i], readings[i].moments[turn], rows_of)
            self._run([lane for i in active for lane in lanes[i] if lane.pending])
            for i in active:
                vectors[i].append(lanes[i][0].vector)
        for reading, final in zip(readings, lanes, strict=True):
            reading.carried = [Carried(self._bundle, lane.start, lane.state.tobytes()) for lane in final]
        return vectors

    def _resume(self, reading: Reading) -> Iterator[_Lane]:
        position = reading.moments[0].count - 1 if reading.moments else 0
        for carried in reading.carried:
            if carried.bundle == self._bundle and carried.start < position:
                yield _Lane(carried.start, position, np.frombuffer(carried.state, "<f4"))

    def _starts(self, count: int) -> list[int]:
        """Return where the states start that a session of `count` events needs: its window, and the next one."""
        start = window_start(count, self._window)
        following = start + self._window // 2
        return [start, following] if following < count else [start]

    def _advance(self, lanes: Sequence[_Lane], moment: Moment, rows_of: RowsOf) -> list[_Lane]:
        """Return the lanes that the moment needs, each with the items that it must still step through."""
        known = {lane.start: lane for lane in lanes if lane.position == moment.count - 1}
        return [self._lane(start, known.get(start), moment, rows_of) for start in self._starts(moment.count)]

    def _lane(self, start: int, lane: _Lane | None, moment: Moment, rows_of: RowsOf) -> _Lane:
        if lane is not None:
            newest = rows_of(moment.interactions[moment.end - 1 : moment.end])
            if newest or lane.vector is not None:
                lane.position, lane.pending = moment.count, newest
                return lane
        # Nothing carried, or an unknown item after a state that came without its vector: read the window again.
        fresh = np.zeros(self._state_size, np.float32)
        return _Lane(start, moment.count, fresh, None, rows_of(moment.since(start)))

    def _run(self, lanes: list[_Lane]) -> None:
        """Step all lanes through their pending rows, one column of rows a call."""
        for column in range(max((len(lane.pending) for lane in lanes), default=0)):
            batch = [lane for lane in lanes if column < len(lane.pending)]
            states, vectors = self.step(
                [lane.pending[column] for lane in batch], np.stack([lane.state for lane in batch])
            )
            for i, lane in enumerate(batch):
                lane.state, lane.vector = states[i], vectors[i]
        for lane in lanes:
            lane.pending = []
