"""From a trained encoder to what serving runs: the step form as ONNX, and the proof that it computes the same."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch

from serving.encoders import RecurrentEncoder
from training.batches import pad
from training.data.sequences import Rows
from training.errors import TrainingError
from training.models import SessionEncoder

# The newest that every onnxruntime from 1.18 on runs.
OPSET = 20
TOLERANCE = 1e-5
TOP = 20

Floats = npt.NDArray[np.float32]


def export_step(encoder: SessionEncoder) -> bytes:
    """Return the step form as an ONNX file: `x`, `state` to `state_out`, `vector`, with any number of sessions."""
    step = encoder.step_module().eval()
    sessions = torch.export.Dim.DYNAMIC
    # Two sessions, for an axis of length 1 would be taken for a constant.
    example = (torch.zeros(2, encoder.input_dim), torch.zeros(2, encoder.state_size))
    with _quiet():
        program = torch.onnx.export(
            step,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["x", "state"],
            output_names=["state_out", "vector"],
            dynamic_shapes={"x": {0: sessions}, "state": {0: sessions}},
            verbose=False,
        )
    assert program is not None  # with dynamo=True it always is one
    onnx_file: bytes = _without_traces(program.model_proto).SerializeToString()
    return onnx_file


class Parity(NamedTuple):
    """How the exported form compares with the network in torch, over some sessions."""

    difference: float
    """The largest difference of a score."""
    other_lists: int
    """Sessions whose top 20 are not the same rows in the same order: some scores lie closer than `difference`."""


def check_parity(encoder: SessionEncoder, step: bytes, sessions: Sequence[Rows], window: int) -> Parity:
    """Compare the exported step form with the whole network in torch.

    `sessions` are item rows, read up to `window` events each. Every score must agree within 1e-5; where scores are no
    cosines (no temperature), within 1e-5 of the largest score, if that is above 1. Two lists can then differ only in
    items whose scores lie within twice that, which another rounding may order either way.

    Raises:
        TrainingError: a score does not agree.

    """
    sessions = [session[:window] for session in sessions]
    with torch.inference_mode():
        items = encoder.item_vectors().numpy()
        whole = _whole(encoder, sessions) @ items.T
    stepped = _stepped(encoder, step, sessions, window) @ items.T
    limit = TOLERANCE if encoder.items.unit_norm else TOLERANCE * max(1.0, float(np.abs(whole).max()))
    difference = float(np.abs(whole - stepped).max())
    if not difference <= limit:
        raise TrainingError(
            f"the exported {encoder.kind} gives scores up to {difference:.2g} away from the trained one's, at most "
            f"{limit:.2g} is rounding: the versions of torch and onnxruntime do not fit together"
        )
    return Parity(difference, int((_top(whole) != _top(stepped)).any(axis=1).sum()))


def _top(scores: Floats) -> Rows:
    """Return the rows of the highest scores, `[n, 20]`; of equal ones the lower row first."""
    return 1 + np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :TOP]


def _whole(encoder: SessionEncoder, sessions: Sequence[Rows]) -> Floats:
    was_training = encoder.training
    try:
        vectors: Floats = encoder.eval().session_vectors(*pad(sessions)).numpy()
    finally:
        encoder.train(was_training)
    return vectors


def _stepped(encoder: SessionEncoder, step: bytes, sessions: Sequence[Rows], window: int) -> Floats:
    """Step all sessions at once through serving's own runtime."""
    inputs_or_none = encoder.input_vectors()
    inputs = (encoder.item_vectors() if inputs_or_none is None else inputs_or_none).detach().numpy()
    runtime = RecurrentEncoder(
        step, inputs, state_size=encoder.state_size, dim=encoder.dim, window=window, bundle="export"
    )
    vectors = np.zeros((len(sessions), encoder.dim), np.float32)
    states = np.zeros((len(sessions), encoder.state_size), np.float32)
    for position in range(max(len(session) for session in sessions)):
        active = [i for i, session in enumerate(sessions) if len(session) > position]
        rows = [int(sessions[i][position]) for i in active]
        states[active], vectors[active] = runtime.step(rows, states[active])
    return vectors


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
