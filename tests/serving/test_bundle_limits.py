"""Bundles whose manifest or counters hold what no training writes: refused in a sentence, never a traceback."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from serving.bundle import BlendSpec, load_bundle, write_bundle
from serving.errors import BundleError
from tests.tiny_bundle import edit_manifest, reseal, tiny_blend_contents, tiny_contents


@pytest.fixture
def own_blend(tmp_path: Path) -> Path:
    """The directory of a blend that the test may damage."""
    return write_bundle(tmp_path / "own", tiny_blend_contents()).directory


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("blend", {"candidates": 0}, "found 0 at blend.candidates"),
        ("blend", {"candidates": -3}, "found -3 at blend.candidates"),
        ("blend", {"floors": [1e-3, 0]}, "found 0 at blend.floors[1]"),
        ("blend", {"floors": [-0.5, 1e-5]}, "found -0.5 at blend.floors[0]"),
        ("blend", {"floors": [1e-3, 1e-60]}, "found 1e-60 at blend.floors[1]"),
        ("blend", {"floors": [1e-3, 1e39]}, "found 1e+39 at blend.floors[1]"),
        ("blend", {"counters": [0.7, 1e39]}, "found 1e+39 at blend.counters[1]"),
        ("blend", {"encoder": -1e39}, "found -1e+39 at blend.encoder"),
        ("encoder", {"scale": 1e39}, "found 1e+39 at encoder.scale"),
        ("encoder", {"scale": 0.0}, "found 0.0 at encoder.scale"),
        ("encoder", {"scale": -2.0}, "found -2.0 at encoder.scale"),
        ("encoder", {"window": 0}, "found 0 at encoder.window"),
        ("encoder", {"window": 1}, "window 1 and state_size 8: an encoder in its step form reads 2 events or more"),
        ("encoder", {"window": 1000}, "found 1000 at encoder.window"),
        ("encoder", {"state_size": -1}, "found -1 at encoder.state_size"),
        ("encoder", {"state_size": 0}, "window 6 and state_size 0: an encoder in its step form"),
        ("encoder", {"dim": 0}, "found 0 at encoder.dim"),
        ("encoder", {"input_dim": -8}, "found -8 at encoder.input_dim"),
        ("encoder", {"kind": 7}, "found 7 at encoder.kind"),
    ],
)
def test_numbers_that_cannot_be_are_refused_with_file_value_and_remedy(
    own_blend: Path, part: str, change: dict[str, Any], said: str
) -> None:
    edit_manifest(own_blend, lambda manifest: manifest[part].update(change))
    wanted = rf"{re.escape(str(own_blend))}/manifest\.json is damaged or foreign .*{re.escape(said)}.*train the bundle"
    with pytest.raises(BundleError, match=wanted):
        load_bundle(own_blend)


def test_a_state_that_no_memory_holds_is_refused_before_it_is_made(own_blend: Path) -> None:
    edit_manifest(own_blend, lambda manifest: manifest["encoder"].update(state_size=10**15))
    with pytest.raises(
        BundleError, match=r"state is tensor\(float\) of 2 axes, 8 wide, expected .* 1000000000000000 wide"
    ):
        load_bundle(own_blend)


@pytest.mark.parametrize("window", [401, 10**13])
def test_a_counter_that_reads_more_than_a_session_keeps_is_refused(own_blend: Path, window: int) -> None:
    edit_manifest(own_blend, lambda manifest: manifest["counters"][0]["parameters"].update(window=window))
    with pytest.raises(BundleError, match=rf"counter 0 \(item-rules\) of manifest\.json: .*window is {window},.*400"):
        load_bundle(own_blend)


def test_numbers_at_their_bounds_are_read(tmp_path: Path) -> None:
    blend = BlendSpec(encoder=0.0, counters=[0.0, -1.0], floors=[1e-37, 3e38], candidates=1)
    contents = dataclasses.replace(tiny_blend_contents(tiny_contents(window=400)), blend=blend)
    loaded = load_bundle(write_bundle(tmp_path / "bounds", contents).directory)
    assert (loaded.window, loaded.manifest.blend) == (400, blend)


def test_a_manifest_that_is_no_text_or_too_deep_is_refused(own_blend: Path) -> None:
    for raw in (b'{"format": "\xff"}', b"[" * 100_000):
        (own_blend / "manifest.json").write_bytes(raw)
        with pytest.raises(BundleError, match="is no manifest of a bundle"):
            load_bundle(own_blend)


def test_contents_with_numbers_that_cannot_be_leave_nothing(tmp_path: Path) -> None:
    blend = BlendSpec(encoder=1.0, counters=[0.7, float("nan")], floors=[1e-3, 1e-5], candidates=500)
    contents = dataclasses.replace(tiny_blend_contents(), blend=blend)
    with pytest.raises(BundleError, match=r"found None at blend\.counters"):
        write_bundle(tmp_path / "bundle", contents)
    assert not list(tmp_path.iterdir())


def test_a_damaged_counter_is_named_with_its_directory_file_place_and_kind(own_blend: Path) -> None:
    tensors = safetensors.numpy.load((own_blend / "counters.safetensors").read_bytes())
    tensors["1/scores"][3] = np.nan
    reseal(own_blend, "counters.safetensors", safetensors.numpy.save(tensors))
    wanted = rf"{re.escape(str(own_blend))}/counters\.safetensors, counter 1 \(popularity\) of manifest\.json: .*NaN"
    with pytest.raises(BundleError, match=wanted):
        load_bundle(own_blend)


@pytest.mark.parametrize("name", ["2/rows", "rows", "/rows", "01/rows", "-1/rows"])
def test_tensors_of_no_counter_are_refused(own_blend: Path, name: str) -> None:
    tensors = safetensors.numpy.load((own_blend / "counters.safetensors").read_bytes())
    tensors[name] = np.ones(1, np.int32)
    reseal(own_blend, "counters.safetensors", safetensors.numpy.save(tensors))
    with pytest.raises(BundleError, match=rf"counters\.safetensors holds '{name}', which belongs to none of the 2"):
        load_bundle(own_blend)
