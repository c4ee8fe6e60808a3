"""`nextclick bundle`: what it says of bundles with an encoder, with counters, and with both."""

import json
from pathlib import Path

import pytest

from deploy.cli import build_app, run
from serving.bundle import Bundle, load_bundle, write_bundle
from serving.errors import BundleError
from tests.tiny_bundle import tiny_blend_contents


@pytest.fixture(scope="module")
def blended(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("blend") / "bundle", tiny_blend_contents())


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("counted") / "bundle", tiny_blend_contents(encoder=False))


def shown(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """The lines of `bundle show`: their titles, and what stands behind them."""
    assert run(build_app(), ["bundle", "show", str(bundle.directory)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [(line[:12].strip(), line[12:]) for line in lines]


COUNTERS = [
    ("counter", "item-rules: decay 0.8, window 20"),
    ("counter", "popularity: "),
]


def test_an_encoder_alone_has_neither_counters_nor_blend(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(bundle, capsys)
    assert lines[:4] == [
        ("bundle", f"{bundle.id}  (format 2)"),
        ("encoder", "gru, 8 wide, reads the last 6 events"),
        ("items", "50"),
        ("index", "Flat, inner_product, recall@10 1.0000"),
    ]
    assert not {"counter", "blend", "needs"} & {title for title, _ in lines}


def test_a_blend_shows_all_its_sides_and_what_they_weigh(blended: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(blended, capsys)
    assert lines[1:5] == [
        ("encoder", "gru, 8 wide, reads the last 6 events"),
        *COUNTERS,
        ("blend", "weights 1, 0.7, 0.1 over the 500 best of each"),
    ]
    assert ("index", "Flat, inner_product, recall@10 1.0000") in lines


def test_counters_alone_have_neither_encoder_nor_index(counted: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(counted, capsys)
    assert lines[1:4] == [*COUNTERS, ("blend", "weights 0.7, 0.1 over the 500 best of each")]
    assert not {"encoder", "index"} & {title for title, _ in lines}
    assert (counted.index, counted.vectors.shape) == (None, (51, 0))
    with pytest.raises(BundleError, match=r"a bundle of item-rules\+popularity has no encoder"):
        _ = counted.manifest.session_encoder


def test_what_no_worker_can_serve_is_said(query_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert ("needs", "query_time: no worker can serve it") in shown(query_bundle, capsys)


def test_the_manifest_is_written_as_json(blended: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "bundle.json"
    assert run(build_app(), ["bundle", "show", str(blended.directory), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["id"] == blended.id
    assert [counter["kind"] for counter in found["manifest"]["counters"]] == ["item-rules", "popularity"]


@pytest.mark.parametrize("name", ["counters.safetensors", "golden.json"])
def test_a_damaged_counter_is_found(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_bundle(tmp_path / "own", tiny_blend_contents(encoder=False)).directory
    assert run(build_app(), ["bundle", "verify", str(directory)]) == 0
    assert "golden sessions agree" in capsys.readouterr().out
    raw = bytearray((directory / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (directory / name).write_bytes(bytes(raw))
    assert run(build_app(), ["bundle", "verify", str(directory)]) == 1
    assert f"{name} is damaged" in capsys.readouterr().err


def test_a_bundle_of_counters_loads_as_it_was_written(counted: Bundle) -> None:
    loaded = load_bundle(counted.directory)
    assert (loaded.id, loaded.manifest, loaded.window) == (counted.id, counted.manifest, 20)
    assert not (counted.directory / "index.faiss").exists()
