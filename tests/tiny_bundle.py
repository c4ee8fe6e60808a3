"""A real bundle, made in milliseconds: an ONNX network with random weights over random item vectors.

Random, but true to its form: a GRU, or attention over a window. Its lists depend on every item of the session and on
their order, and on types, silences and ages where it reads them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import BlendSpec, Bundle, BundleContents, EncoderSpec, GoldenEvents, write_bundle
from serving.counters import ItemRules, ItemRulesParameters, Popularity, PopularityParameters
from serving.encoders import TimeOf
from serving.encoders.events import AGES, SILENCES

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


def attention_window(dim: int, seed: int = 0, *, timed: bool = False) -> bytes:
    """One attention head in plain operators: the newest event asks, places (and with `timed`, ages) weigh.

    `x` `[B, L, dim]` and `last` `[B]` in, with `timed` `ages` `[B, L, L]` too, `vector` `[B, dim]` out.
    """
    random = np.random.default_rng(seed)
    query, key = ((random.normal(size=(dim, dim)) / np.sqrt(dim)).astype(np.float32) for _ in range(2))
    constants = {
        "query": query,
        "key": key,
        "by_age": random.normal(size=AGES).astype(np.float32),
        "recency": np.array(0.3, np.float32),
        "never": np.array(-np.inf, np.float32),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "zero_scalar": np.array(0, np.int64),
        "one_scalar": np.array(1, np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["last", "one"], ["last_B1"]),
        node("GatherND", ["x", "last_B1"], ["newest_BD"], batch_dims=1),
        node("MatMul", ["newest_BD", "query"], ["query_BD"]),
        node("Unsqueeze", ["query_BD", "two"], ["query_BD1"]),
        node("MatMul", ["x", "key"], ["key_BLD"]),
        node("MatMul", ["key_BLD", "query_BD1"], ["match_BL1"]),
        node("Squeeze", ["match_BL1", "two"], ["match_BL"]),
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one_scalar"], ["length"]),
        node("Range", ["zero_scalar", "length", "one_scalar"], ["place_L"]),
        node("LessOrEqual", ["place_L", "last_B1"], ["seen_BL"]),
        node("Cast", ["place_L"], ["float_place_L"], to=TensorProto.FLOAT),
        node("Mul", ["float_place_L", "recency"], ["recency_L"]),
        node("Add", ["match_BL", "recency_L"], ["placed_BL"]),
        *(
            [
                node("GatherND", ["ages", "last_B1"], ["ages_BL"], batch_dims=1),
                node("Gather", ["by_age", "ages_BL"], ["bias_BL"]),
                node("Add", ["placed_BL", "bias_BL"], ["score_BL"]),
            ]
            if timed
            else [node("Identity", ["placed_BL"], ["score_BL"])]
        ),
        node("Where", ["seen_BL", "score_BL", "never"], ["masked_BL"]),
        node("Softmax", ["masked_BL"], ["weight_BL"], axis=1),
        node("Unsqueeze", ["weight_BL", "one"], ["weight_B1L"]),
        node("MatMul", ["weight_B1L", "x"], ["vector_B1D"]),
        node("Squeeze", ["vector_B1D", "one"], ["vector"]),
    ]
    places = {"x": (TensorProto.FLOAT, ["B", "L", dim]), "last": (TensorProto.INT64, ["B"])}
    if timed:
        places["ages"] = (TensorProto.INT64, ["B", "L", "L"])
    graph = helper.make_graph(
        nodes,
        "attention_window",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in places.items()],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["B", dim])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def tiny_contents(
    items: int = 50,
    dim: int = 8,
    window: int = 6,
    factory: str = "Flat",
    seed: int = 0,
    form: Literal["step", "window"] = "step",
    event_types: Sequence[str] = (),
    silences: bool = False,
    time_of: TimeOf = "none",
) -> BundleContents:
    """Contents of a bundle over items `i1` to `i{items}`, more popular the smaller their number."""
    random = np.random.default_rng(seed)

    def table(rows: int) -> Vectors:
        return random.normal(size=(rows, dim)).astype(np.float32)

    vectors = table(items + 1)
    vectors[0] = 0.0
    ids = [f"i{row}" for row in range(1, items + 1)]
    spec = EncoderSpec(
        kind="gru" if form == "step" else "attention",
        form=form,
        input_dim=dim,
        dim=dim,
        state_size=dim if form == "step" else 0,
        window=window,
        event_types=list(event_types),
        silences=silences,
        time_of=time_of,
    )
    return BundleContents(
        encoder=spec,
        encoder_onnx=gru_step(dim, seed) if form == "step" else attention_window(dim, seed, timed=time_of != "none"),
        item_ids=ids,
        vectors=vectors,
        popularity=np.array([0, *range(items, 0, -1)], np.float32),
        type_vectors=table(len(event_types) + 1) if event_types else None,
        silence_vectors=table(SILENCES) if silences else None,
        titles=[f"Item {row}" for row in range(1, items + 1)],
        index_factory=factory,
        recipe={"name": "tiny"},
        seed=seed,
        golden_sessions=() if spec.needs else [golden(items) for items in (ids[:3], ids[3:12], ["nowhere"])],
    )


def golden(items: Sequence[str]) -> GoldenEvents:
    """Return a session on these items: views and buys by turns, after silences from half a second to a week."""
    silences_s = (0.5, 8000, 100_000, 40, 700, 600_000)
    steps_ms = [int(1000 * silences_s[place % len(silences_s)]) for place in range(len(items))]
    return GoldenEvents(
        items=list(items),
        types=["view" if place % 2 else "buy" for place in range(len(items))],
        times=(1_780_000_000_000 + np.cumsum(steps_ms)).tolist(),
    )


def tiny_blend_contents(contents: BundleContents | None = None, *, encoder: bool = True) -> BundleContents:
    """Contents (`tiny_contents()`) with counters: item i's rules vote for the next three items, and popularity."""
    contents = contents or tiny_contents()
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
    return contents


def write_tiny_bundle(directory: Path, **parameters: object) -> Bundle:
    """Write `tiny_contents(**parameters)` into the directory."""
    return write_bundle(directory, tiny_contents(**parameters))  # type: ignore[arg-type]


def edit_manifest(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a bundle's manifest says."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def reseal(directory: Path, name: str, raw: bytes) -> None:
    """Replace a file and make the manifest vouch for it, as a careless script would."""
    (directory / name).write_bytes(raw)
    seal = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    edit_manifest(directory, lambda manifest: manifest["files"].update({name: seal}))
