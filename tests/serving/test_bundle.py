import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from serving.bundle import Bundle, BundleContents, load_bundle, write_bundle
from serving.errors import BundleError, WrongUse
from tests.tiny_bundle import edit_manifest, golden, reseal, tiny_contents, write_tiny_bundle


def tiny_vectors() -> np.ndarray:
    vectors = tiny_contents().vectors
    assert vectors is not None
    return vectors


def test_a_bundle_loads_as_it_was_written(bundle: Bundle) -> None:
    loaded = load_bundle(bundle.directory)
    assert (loaded.id, loaded.manifest) == (bundle.id, bundle.manifest)
    assert loaded.catalogue.item_ids == bundle.catalogue.item_ids
    assert loaded.catalogue.title("i7") == "Item 7"
    assert np.array_equal(loaded.vectors, bundle.vectors)
    assert np.array_equal(loaded.vectors, tiny_vectors())


def test_the_same_contents_give_the_same_id_and_others_another(tmp_path: Path, bundle: Bundle) -> None:
    assert write_tiny_bundle(tmp_path / "again").id == bundle.id
    assert write_tiny_bundle(tmp_path / "other", seed=1).id != bundle.id


def test_nothing_but_the_bundle_is_left_in_its_folder(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_is_never_overwritten(own_bundle: Bundle) -> None:
    with pytest.raises(WrongUse, match="exists already"):
        write_bundle(own_bundle.directory, tiny_contents())


@pytest.mark.parametrize("name", ["encoder.step.onnx", "items.json", "items.safetensors", "index.faiss", "golden.json"])
def test_one_flipped_bit_in_any_file_is_found(own_bundle: Bundle, name: str) -> None:
    path = own_bundle.directory / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(BundleError, match=rf"{name} is damaged: sha256 .* the manifest says .*copy the bundle again"):
        load_bundle(own_bundle.directory)


def test_a_file_cut_short_says_both_lengths(own_bundle: Bundle) -> None:
    path = own_bundle.directory / "index.faiss"
    length = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BundleError, match=f"has {length - 7} bytes, the manifest says {length}"):
        load_bundle(own_bundle.directory)


def test_a_missing_file_is_named(own_bundle: Bundle) -> None:
    (own_bundle.directory / "items.json").unlink()
    with pytest.raises(BundleError, match=r"items\.json is not there"):
        load_bundle(own_bundle.directory)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is not there.*nextclick train"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(("found", "remedy"), [(3, "run a newer nextclick"), (1, "train the bundle again")])
def test_another_format_is_refused(own_bundle: Bundle, found: int, remedy: str) -> None:
    edit_manifest(own_bundle.directory, lambda manifest: manifest.update(format=found, novelty=[1, 2]))
    with pytest.raises(BundleError, match=f"bundle format {found}, this version reads format 2: {remedy}"):
        load_bundle(own_bundle.directory)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"name": "some-package"}', b'{"format": 2}', b"\xff"])
def test_a_foreign_manifest_is_refused(own_bundle: Bundle, raw: bytes) -> None:
    (own_bundle.directory / "manifest.json").write_bytes(raw)
    with pytest.raises(BundleError, match=r"manifest\.json is"):
        load_bundle(own_bundle.directory)


def test_an_encoder_form_of_the_future_is_refused(own_bundle: Bundle) -> None:
    edit_manifest(own_bundle.directory, lambda manifest: manifest["encoder"].update(form="oracle"))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged or foreign .*'oracle'.*encoder\.form"):
        load_bundle(own_bundle.directory)


def test_a_manifest_that_reaches_out_of_its_folder_is_refused(own_bundle: Bundle) -> None:
    seal = {"bytes": 0, "sha256": ""}
    edit_manifest(own_bundle.directory, lambda manifest: manifest["files"].update({"../../etc/passwd": seal}))
    with pytest.raises(BundleError, match=r"names files that no bundle has: \.\./\.\./etc/passwd"):
        load_bundle(own_bundle.directory)


def test_what_an_encoder_reads_of_events_is_written_and_read_back(any_bundle: Bundle) -> None:
    loaded = load_bundle(any_bundle.directory)
    assert loaded.manifest.encoder == any_bundle.manifest.encoder
    assert loaded.manifest.needs == []
    assert (any_bundle.directory / f"encoder.{loaded.manifest.session_encoder.form}.onnx").exists()
    tables = safetensors.numpy.load((any_bundle.directory / "items.safetensors").read_bytes())
    assert ("type_vectors" in tables) == bool(loaded.manifest.session_encoder.event_types)
    assert ("silence_vectors" in tables) == loaded.manifest.session_encoder.silences


def test_a_bundle_for_the_time_of_the_query_loads_and_says_what_it_needs(query_bundle: Bundle) -> None:
    loaded = load_bundle(query_bundle.directory)
    assert loaded.manifest.needs == ["query_time"]
    assert loaded.manifest.session_encoder.time_of == "query"


def test_a_manifest_that_hides_what_its_encoder_needs_is_refused(query_bundle: Bundle, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(query_bundle.directory, tmp_path / "own"))
    edit_manifest(directory, lambda manifest: manifest.update(needs=[]))
    with pytest.raises(BundleError, match=r"what it needs: found \[\], expected \['query_time'\]"):
        load_bundle(directory)


def test_a_bundle_without_the_file_of_its_form_is_refused(own_bundle: Bundle) -> None:
    edit_manifest(own_bundle.directory, lambda manifest: manifest["encoder"].update(form="window"))
    with pytest.raises(BundleError, match=r"names no encoder\.window\.onnx"):
        load_bundle(own_bundle.directory)


def test_types_that_have_no_vector_are_refused(tmp_path: Path) -> None:
    directory = write_tiny_bundle(tmp_path / "own", event_types=["buy", "view"]).directory
    edit_manifest(directory, lambda manifest: manifest["encoder"].update(event_types=["view", "buy", "like"]))
    with pytest.raises(BundleError, match=r"'type_vectors': \(3, 8\).* expected .*'type_vectors': \(4, 8\)"):
        load_bundle(directory)


def test_parts_of_different_runs_are_refused_even_when_resealed(own_bundle: Bundle, tmp_path: Path) -> None:
    other = write_tiny_bundle(tmp_path / "other", items=40)
    reseal(own_bundle.directory, "index.faiss", (other.directory / "index.faiss").read_bytes())
    with pytest.raises(BundleError, match="come from different runs"):
        load_bundle(own_bundle.directory)


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("items.json", b'{"items": []}', r"items\.json"),
        ("items.json", b"\xff", r"items\.json"),
        ("items.safetensors", b"no tensors", r"items\.safetensors"),
        (
            "items.safetensors",
            safetensors.numpy.save({"other": np.zeros(1, np.float32)}),
            r"shapes: found \{'other': \(1,\)\}",
        ),
        ("index.faiss", b"no index", r"index\.faiss"),
        ("encoder.step.onnx", b"no network", r"encoder\.step\.onnx"),
        ("golden.json", b'[{"items": 7}]', r"golden\.json"),
    ],
)
def test_a_foreign_file_is_refused_even_when_resealed(own_bundle: Bundle, name: str, raw: bytes, message: str) -> None:
    reseal(own_bundle.directory, name, raw)
    with pytest.raises(BundleError, match=message):
        load_bundle(own_bundle.directory)


def test_tensors_of_another_type_or_shape_are_refused_even_when_resealed(own_bundle: Bundle) -> None:
    tensors: dict[str, np.ndarray] = {
        "vectors": own_bundle.vectors.astype(np.float64),
        "popularity": own_bundle.popularity,
    }
    reseal(own_bundle.directory, "items.safetensors", safetensors.numpy.save(tensors))
    with pytest.raises(BundleError, match=r"types: found .*float64.*expected \{'float32'\}"):
        load_bundle(own_bundle.directory)
    tensors = {"vectors": own_bundle.vectors, "popularity": own_bundle.popularity[:-1]}
    reseal(own_bundle.directory, "items.safetensors", safetensors.numpy.save(tensors))
    with pytest.raises(BundleError, match=r"'popularity': \(50,\).*expected .*'popularity': \(51,\)"):
        load_bundle(own_bundle.directory)


def spoilt(**changes: object) -> BundleContents:
    return dataclasses.replace(tiny_contents(), **changes)  # type: ignore[arg-type]


def spoilt_types(**changes: object) -> BundleContents:
    whole = tiny_contents(event_types=["view", "buy"], silences=True)
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def spoilt_query(**changes: object) -> BundleContents:
    whole = tiny_contents(form="window", time_of="query")
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def with_nan() -> np.ndarray:
    vectors = tiny_vectors()
    vectors[3, 3] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (spoilt(item_ids=["i1"], titles=None), r"popularity have shape \(51,\), expected \(2,\)"),
        (spoilt(vectors=tiny_vectors()[:-1]), r"vectors have shape \(50, 8\), expected \(51, 8\)"),
        (spoilt(vectors=None), "an encoder needs item vectors"),
        (spoilt(vectors=with_nan()), "training diverged"),
        (spoilt(item_ids=["i1"] * 50), "item ids must be distinct"),
        (spoilt(titles=["one"]), "1 titles for 50 items"),
        (spoilt(vectors=np.ones((51, 8), np.float32)), "row 0 of vectors is padding"),
        (tiny_contents(window=401), "train it with a shorter window"),
        (
            spoilt(input_vectors=np.zeros((51, 4), np.float32)),
            r"input vectors have shape \(51, 4\), expected \(51, 8\)",
        ),
        (spoilt(type_vectors=np.zeros((3, 8), np.float32)), r"'type_vectors': \(3, 8\)"),
        (spoilt_types(type_vectors=np.zeros((2, 8), np.float32)), r"'type_vectors': \(2, 8\).*expected.*\(3, 8\)"),
        (
            spoilt_types(silence_vectors=np.zeros((7, 8), np.float32)),
            r"'silence_vectors': \(7, 8\).*expected.*\(21, 8\)",
        ),
        (spoilt_types(silence_vectors=None), r"expected.*'silence_vectors': \(21, 8\)"),
        (spoilt_types(type_vectors=np.full((3, 8), np.nan, np.float32)), "type vectors hold NaN"),
        (
            spoilt_query(golden_sessions=[golden(["i1"])]),
            "needs query_time gives no lists, so it has no golden sessions",
        ),
        (spoilt(golden_sessions=[]), "without golden sessions is refused by every worker: give one session at least"),
        (spoilt(popularity=np.zeros(7, np.float32)), r"popularity have shape \(7,\)"),
    ],
)
def test_contents_that_do_not_fit_are_refused_and_leave_nothing(
    contents: BundleContents, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "b", contents)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be loaded"):
        write_bundle(tmp_path / "b", spoilt(encoder_onnx=b"no network"))
    assert list(tmp_path.iterdir()) == []
