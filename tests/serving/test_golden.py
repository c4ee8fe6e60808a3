"""Golden sessions: what they find in bundles whose parts were changed by somebody who sealed them again."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import numpy_helper

from serving.bundle import Bundle, load_bundle
from serving.errors import BundleError
from tests.tiny_bundle import edit_manifest, gru_step, reseal, write_tiny_bundle

TYPES = ["buy", "view"]
DIFFERS = "golden session [01] gives encoder list"


def test_swapped_item_ids_fail_the_golden_sessions(own_bundle: Bundle) -> None:
    items = json.loads((own_bundle.directory / "items.json").read_bytes())
    items["item_ids"][40:] = reversed(items["item_ids"][40:])
    reseal(own_bundle.directory, "items.json", json.dumps(items).encode())
    with pytest.raises(BundleError, match=DIFFERS):
        load_bundle(own_bundle.directory)


def test_another_network_of_the_same_shape_fails_the_golden_sessions(own_bundle: Bundle) -> None:
    reseal(own_bundle.directory, "encoder.step.onnx", gru_step(8, seed=99))
    with pytest.raises(BundleError, match=DIFFERS):
        load_bundle(own_bundle.directory)


def test_event_types_in_another_order_fail_the_golden_sessions(tmp_path: Path) -> None:
    directory = write_tiny_bundle(tmp_path / "own", event_types=TYPES).directory
    edit_manifest(directory, lambda manifest: manifest["encoder"].update(event_types=TYPES[::-1]))
    with pytest.raises(BundleError, match=DIFFERS):
        load_bundle(directory)


@pytest.mark.parametrize("form", ["step", "window"])
@pytest.mark.parametrize(
    ("table", "row"), [("type_vectors", 1), ("type_vectors", 2), ("silence_vectors", 14), ("silence_vectors", 17)]
)
def test_the_vector_of_a_type_or_of_a_long_silence_is_proved(tmp_path: Path, form: str, table: str, row: int) -> None:
    directory = write_tiny_bundle(tmp_path / "own", form=form, event_types=TYPES, silences=True).directory
    tensors = safetensors.numpy.load((directory / "items.safetensors").read_bytes())
    tensors[table][row] += 1
    reseal(directory, "items.safetensors", safetensors.numpy.save(tensors))
    with pytest.raises(BundleError, match=DIFFERS):
        load_bundle(directory)


def test_what_a_network_makes_of_events_days_old_is_proved(tmp_path: Path) -> None:
    directory = write_tiny_bundle(tmp_path / "own", form="window", time_of="last").directory
    model = onnx.load(directory / "encoder.window.onnx")
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "by_age")
    by_age = numpy_helper.to_array(weights).copy()
    by_age[37:] += 5  # from 18 hours on
    weights.CopyFrom(numpy_helper.from_array(by_age, "by_age"))
    reseal(directory, "encoder.window.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match=DIFFERS):
        load_bundle(directory)


def test_a_bundle_that_workers_serve_is_refused_without_golden_sessions(own_bundle: Bundle) -> None:
    reseal(own_bundle.directory, "golden.json", b"[]")
    with pytest.raises(
        BundleError, match=r"golden\.json holds 0 golden sessions, expected one or more.*train it again"
    ):
        load_bundle(own_bundle.directory)


def test_a_bundle_that_no_worker_serves_is_refused_with_golden_sessions(own_bundle: Bundle, tmp_path: Path) -> None:
    directory = write_tiny_bundle(tmp_path / "query", form="window", time_of="query").directory
    reseal(directory, "golden.json", (own_bundle.directory / "golden.json").read_bytes())
    with pytest.raises(BundleError, match=r"golden\.json holds 3 golden.*expected none, for a .* needs query_time"):
        load_bundle(directory)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda first: first["types"].pop(), "a session of 3 items, 2 types, 3 times"),
        (lambda first: first["times"].append(0), "a session of 3 items, 3 types, 4 times"),
        (lambda first: first["scores"].pop(), "a list of 20 items, 19 scores"),
        (lambda first: first.update(items=[], types=[], times=[]), "items"),
        (lambda first: first.update(times=[0, 1, 2**63]), "times"),
    ],
)
def test_golden_sessions_that_cannot_be_are_refused(
    own_bundle: Bundle, change: Callable[[dict[str, list[object]]], object], said: str
) -> None:
    golden = json.loads((own_bundle.directory / "golden.json").read_bytes())
    change(golden[0])
    reseal(own_bundle.directory, "golden.json", json.dumps(golden).encode())
    with pytest.raises(BundleError, match=rf"golden\.json does not hold what its name says .*{said}"):
        load_bundle(own_bundle.directory)


def test_a_silence_longer_than_any_gap_ends_no_golden_session(own_bundle: Bundle) -> None:
    golden = json.loads((own_bundle.directory / "golden.json").read_bytes())
    assert max(np.diff(golden[1]["times"])) > 86_400_000
    # With a gap that ends it, its list would be that of its last event alone.
    alone = {name: golden[1][name][-1:] for name in ("items", "types", "times")}
    reseal(own_bundle.directory, "golden.json", json.dumps([golden[1] | alone]).encode())
    with pytest.raises(BundleError, match="golden session 0 gives encoder list"):
        load_bundle(own_bundle.directory)
