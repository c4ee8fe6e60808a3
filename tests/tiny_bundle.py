"""A real bundle, made in milliseconds: an ONNX GRU with random weights over random item vectors.

Random, but a true recurrence: its lists depend on every item of the session and on their order.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Bundle, BundleContents, EncoderSpec, write_bundle

Vectors = npt.NDArray[np.float32]


def gru_step(dim: int, seed: int = 0) -> bytes:
    """One GRU step in ONNX's own operator: `x` and `state` `[B, dim]` in, `state_out` and `vector` out."""
    random = np.random.default_rng(seed)
    weights = [(random.normal(size=(1, 3 * dim, dim)) * 2 / np.sqrt(dim)).astype(np.float32) for _ in range(2)]
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["x_1BD"]),
        helper.make_node("Unsqueeze", ["state", "axis"], ["state_1BD"]),
        helper.make_node("GRU", ["x_1BD", "W", "R", "", "", "state_1BD"], ["", "new_1BD"], hidden_size=dim),
        helper.make_node("Squeeze", ["new_1BD", "axis"], ["state_out"]),
        helper.make_node("Identity", ["state_out"], ["vector"]),
    ]

    def tensor(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", dim])

    constants = {"W": weights[0], "R": weights[1], "axis": np.array([0], np.int64)}
    graph = helper.make_graph(
        nodes,
        "gru_step",
        [tensor("x"), tensor("state")],
        [tensor("state_out"), tensor("vector")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def tiny_contents(
    items: int = 50, dim: int = 8, window: int = 6, factory: str = "Flat", seed: int = 0
) -> BundleContents:
    """Contents of a bundle over items `i1` to `i{items}`, more popular the smaller their number."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(items + 1, dim)).astype(np.float32)
    vectors[0] = 0.0
    ids = [f"i{row}" for row in range(1, items + 1)]
    return BundleContents(
        encoder=EncoderSpec(kind="gru", form="step", input_dim=dim, dim=dim, state_size=dim, window=window),
        encoder_onnx=gru_step(dim, seed),
        item_ids=ids,
        vectors=vectors,
        popularity=np.array([0, *range(items, 0, -1)], np.float32),
        titles=[f"Item {row}" for row in range(1, items + 1)],
        index_factory=factory,
        recipe={"name": "tiny"},
        seed=seed,
        golden_sessions=[ids[:3], ids[3:12], ["nowhere"]],
    )


def write_tiny_bundle(directory: Path, **parameters: object) -> Bundle:
    """Write `tiny_contents(**parameters)` into the directory."""
    return write_bundle(directory, tiny_contents(**parameters))  # type: ignore[arg-type]
