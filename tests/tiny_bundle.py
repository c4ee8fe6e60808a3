"""A real bundle, made in milliseconds: an ONNX GRU with random weights over random item vectors.

Random, but a true recurrence: its lists depend on every item of the session and on their order.
"""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import BlendSpec, Bundle, BundleContents, EncoderSpec, write_bundle
from serving.counters import ItemRules, ItemRulesParameters, Popularity, PopularityParameters

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


def tiny_blend_contents(*, encoder: bool = True, **changed: object) -> BundleContents:
    """Contents like `tiny_contents`, with counters: item i's rules vote for the next three items, and popularity."""
    contents = tiny_contents()
    items = len(contents.item_ids)
    followers = np.array([(row + step) % items + 1 for row in range(items) for step in (1, 2, 3)])
    weights = np.tile(np.array([0.5, 0.3, 0.2], np.float32), items)
    rules = ItemRules(
        ItemRulesParameters(window=20, decay=0.8), np.array([0, *range(0, 3 * items + 1, 3)]), followers, weights
    )
    share = (contents.popularity[1:] / contents.popularity.sum()).astype(np.float32)
    popular = Popularity(PopularityParameters(), np.arange(1, items + 1), share)
    blend = BlendSpec(encoder=1.0 if encoder else 0.0, counters=[0.7, 0.1], floors=[1e-3, 1e-5], candidates=500)
    contents = dataclasses.replace(contents, counters=(rules, popular), blend=blend)
    if not encoder:
        contents = dataclasses.replace(contents, encoder=None, encoder_onnx=b"", vectors=None)
    return dataclasses.replace(contents, **changed)  # type: ignore[arg-type]


def write_tiny_bundle(directory: Path, **parameters: object) -> Bundle:
    """Write `tiny_contents(**parameters)` into the directory."""
    return write_bundle(directory, tiny_contents(**parameters))  # type: ignore[arg-type]
