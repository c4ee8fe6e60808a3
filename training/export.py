"""From a trained encoder to what serving runs: its exported form as ONNX, and the proof that it computes the same."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from serving.encoders import EventTables, RecurrentEncoder, Window, WindowEncoder
from serving.encoders.events import Event, silences
from training.batches import Asked, pad
from training.data.sequences import Events, Rows
from training.errors import TrainingError
from training.evaluation.dense import top_rows
from training.models import SessionEncoder

# The newest that every onnxruntime from 1.18 on runs.
OPSET = 20
TOLERANCE = 1e-5
TOP = 20
# Scores that are compared at once: 32 MB for each of the two.
_SCORES = 8_000_000

Floats = npt.NDArray[np.float32]


def export_encoder(encoder: SessionEncoder) -> bytes:
    """Return the encoder's exported form (`SessionEncoder.exported`) as an ONNX file, for any number of sessions."""
    was_training, module = encoder.training, encoder.exported().eval()
    example, outputs = _example(encoder)
    dynamic = torch.export.Dim.DYNAMIC
    axes = {"x": 1, "state": 1, "last": 1} if encoder.form == "step" else {"x": 2, "last": 1, "ages": 3}
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(example),
            output_names=outputs,
            dynamic_shapes={name: dict.fromkeys(range(axes[name]), dynamic) for name in example},
            verbose=False,
        )
    encoder.train(was_training)
    assert program is not None  # with dynamo=True it always is one
    onnx_file: bytes = _without_traces(program.model_proto).SerializeToString()
    return onnx_file


def _example(encoder: SessionEncoder) -> tuple[dict[str, Tensor], list[str]]:
    """Return inputs of the exported form, by name, and the names of its outputs.

    Of two sessions and three places, for an axis of length 1 would be taken for a constant.
    """
    if encoder.form == "step":
        inputs = {"x": torch.zeros(2, encoder.input_dim), "state": torch.zeros(2, encoder.state_size)}
        return inputs, ["state_out", "vector"]
    inputs = {"x": torch.zeros(2, 3, encoder.input_dim), "last": torch.tensor([1, 2])}
    if encoder.time_of != "none":
        inputs["ages"] = torch.zeros(2, 3, 3, dtype=torch.int64)
    return inputs, ["vector"]


class Parity(NamedTuple):
    """How the exported form compares with the network in torch, over some sessions."""

    difference: float
    """The largest difference of a score."""
    other_lists: int
    """Sessions whose top 20 are not the same rows in the same order: some scores lie closer than `difference`."""


def check_parity(encoder: SessionEncoder, exported: bytes, sessions: Sequence[Events], window: int) -> Parity:
    """Compare the exported form, in serving's own runtime, with the whole network in torch.

    `sessions` are read up to `window` events each. Every score must agree within 1e-5; where scores are no cosines (no
    temperature), within 1e-5 of the largest score, if that is above 1. Two lists can then differ only in items whose
    scores lie within twice that, which another rounding may order either way.

    Raises:
        TrainingError: a score does not agree.

    """
    # The query's own time, where the encoder asks for it: a minute later.
    asked = [Asked(cut, int(cut.times[-1]) + 60_000) for cut in (session.before(window) for session in sessions)]
    with torch.inference_mode():
        items = encoder.item_vectors().cpu().numpy()
        whole, served = _whole(encoder, asked), _served(encoder, exported, asked, window)
    difference, largest, other_lists = 0.0, 1.0, 0
    size = max(1, _SCORES // len(items))
    for begin in range(0, len(asked), size):
        ours, theirs = (vectors[begin : begin + size] @ items.T for vectors in (whole, served))
        # NaN is a difference too, and not below anything.
        difference = float(np.maximum(difference, np.abs(ours - theirs).max()))
        largest = max(largest, float(np.abs(ours).max()))
        other_lists += int((_top(ours) != _top(theirs)).any(axis=1).sum())
    limit = TOLERANCE * (1.0 if encoder.items.unit_norm else largest)
    if not difference <= limit:
        raise TrainingError(
            f"the exported {encoder.kind} gives scores up to {difference:.2g} away from the trained one's, at most "
            f"{limit:.2g} is rounding: the versions of torch and onnxruntime do not fit together"
        )
    return Parity(difference, other_lists)


def _top(scores: Floats) -> Rows:
    """Return the rows of the highest scores, `[n, 20]`; of equal ones the lower row first."""
    return top_rows(np.where(np.arange(scores.shape[1]) == 0, -np.inf, scores), min(TOP, scores.shape[1] - 1))


def _whole(encoder: SessionEncoder, asked: Sequence[Asked]) -> Floats:
    was_training = encoder.training
    encoder.eval()
    try:
        # A few at a time: attention over 1,000 long sessions at once would take gigabytes.
        parts = [asked[begin : begin + 64] for begin in range(0, len(asked), 64)]
        vectors = [encoder.session_vectors(pad(part, encoder.time_of)).numpy() for part in parts]
    finally:
        encoder.train(was_training)
    return np.concatenate(vectors)


def _served(encoder: SessionEncoder, exported: bytes, asked: Sequence[Asked], window: int) -> Floats:
    """Return the session vectors by serving's own runtime."""
    tables = event_tables(encoder)
    events = [_as_events(session.events) for session in asked]
    if encoder.form == "window":
        windowed = WindowEncoder(exported, tables, dim=encoder.dim, window=window, time_of=encoder.time_of)
        return windowed.vectors(
            [Window(read, session.events.times, session.at_ms) for read, session in zip(events, asked, strict=True)]
        )
    stepped = RecurrentEncoder(
        exported, tables, state_size=encoder.state_size, dim=encoder.dim, window=window, bundle="export"
    )
    vectors = np.zeros((len(asked), encoder.dim), np.float32)
    states = np.zeros((len(asked), encoder.state_size), np.float32)
    for position in range(max(len(session) for session in events)):
        active = [i for i, session in enumerate(events) if len(session) > position]
        states[active], vectors[active] = stepped.step([events[i][position] for i in active], states[active])
    return vectors


def event_tables(encoder: SessionEncoder) -> EventTables:
    """Return the encoder's input vectors as serving reads them; event types by their numbers."""
    with torch.inference_mode():
        inputs = encoder.input_vectors()
        items = (encoder.item_vectors() if inputs is None else inputs).numpy()
    return EventTables(items, table_of(encoder.types), table_of(encoder.silences))


def table_of(vectors: torch.nn.Embedding | None) -> Floats | None:
    """Return a table's values, or None where there is no table."""
    if vectors is None:
        return None
    values: Floats = vectors.weight.detach().numpy()
    return values


def _as_events(events: Events) -> list[Event]:
    columns = (events.rows, events.types, silences(events.times))
    return list(zip(*(column.tolist() for column in columns), strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which reports on packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the stack traces that torch writes beside each operator: the bundle's bytes must not tell where it ran."""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    return model
