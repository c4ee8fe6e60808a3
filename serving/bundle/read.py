"""Loading a bundle: every byte is checked before any parser sees it, then the golden sessions are played."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import safetensors
import safetensors.numpy

from serving.bundle.contents import Bundle, Vectors
from serving.bundle.golden import GOLDEN, GoldenSession, check_golden
from serving.bundle.manifest import MANIFEST, EncoderSpec, FileSpec, Manifest, bundle_id, decode_manifest
from serving.catalogue import Catalogue
from serving.encoders import Encoder, EventTables, RecurrentEncoder, WindowEncoder
from serving.encoders.events import SILENCES
from serving.errors import BundleError
from serving.index import Index

INDEX = "index.faiss"
ITEMS = "items.json"
TENSORS = "items.safetensors"
FILES = frozenset({INDEX, ITEMS, TENSORS, GOLDEN})


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    item_ids: list[str]
    titles: list[str] | None


def load_bundle(directory: Path) -> Bundle:
    """Load a bundle: verify every file against the manifest, put the parts together, play the golden sessions.

    What is parsed are the very bytes that were verified, not what the files hold a moment later.

    Raises:
        BundleError: which file, what was found, what was expected, and what to do.

    """
    manifest, raw = read_manifest(directory)
    files = _verified(directory, manifest)
    bundle = put_together(directory, manifest, bundle_id(raw), files)
    with _parsing(directory / GOLDEN):
        golden = msgspec.json.decode(files[GOLDEN], type=list[GoldenSession])
    check_golden(bundle, golden)
    return bundle


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """Return the manifest and its bytes, whose hash is the bundle's id; the other files are not looked at."""
    raw = _read(directory / MANIFEST)
    return decode_manifest(raw, str(directory / MANIFEST)), raw


def put_together(directory: Path, manifest: Manifest, identity: str, files: Mapping[str, bytes]) -> Bundle:
    """Make a bundle from the contents of its files, and check that they fit together."""
    with _parsing(directory / ITEMS):
        items = msgspec.json.decode(files[ITEMS], type=_Items)
    with _parsing(directory / TENSORS):
        tensors: dict[str, Vectors] = safetensors.numpy.load(files[TENSORS])
        vectors, popularity = tensors["vectors"], tensors["popularity"]
    index = Index.deserialize(files[INDEX], str(directory / INDEX))
    _check_fit(directory, manifest, items, index, tensors)
    encoder = _encoder(manifest.encoder, files[manifest.encoder.file], tensors, identity)
    return Bundle(
        id=identity,
        directory=directory,
        manifest=manifest,
        catalogue=Catalogue(items.item_ids, items.titles),
        encoder=encoder,
        index=index,
        vectors=vectors,
        popularity=popularity,
    )


def _encoder(spec: EncoderSpec, onnx: bytes, tensors: Mapping[str, Vectors], bundle: str) -> Encoder:
    tables = EventTables(
        tensors.get("input_vectors", tensors["vectors"]),
        tensors.get("type_vectors"),
        tensors.get("silence_vectors"),
        spec.event_types,
    )
    if spec.form == "window":
        return WindowEncoder(onnx, tables, dim=spec.dim, window=spec.window, time_of=spec.time_of)
    return RecurrentEncoder(
        onnx, tables, state_size=spec.state_size, dim=spec.dim, window=spec.window, bundle=bundle
    )


def _check_fit(
    directory: Path, manifest: Manifest, items: _Items, index: Index, tensors: Mapping[str, Vectors]
) -> None:
    spec, rows = manifest.encoder, manifest.item_count + 1
    found = {
        "what it needs": manifest.needs,
        "item ids": len(items.item_ids),
        "titles": rows - 1 if items.titles is None else len(items.titles),
        "items in the index": len(index),
        "width of the index": index.dim,
        "types": {str(table.dtype) for table in tensors.values()},
        "shapes": {name: table.shape for name, table in tensors.items()},
    }
    shapes = {"vectors": (rows, spec.dim), "popularity": (rows,)}
    if "input_vectors" in tensors or spec.input_dim != spec.dim:
        shapes["input_vectors"] = (rows, spec.input_dim)
    if spec.event_types:
        shapes["type_vectors"] = (len(spec.event_types) + 1, spec.input_dim)
    if spec.silences:
        shapes["silence_vectors"] = (SILENCES, spec.input_dim)
    expected = {
        "what it needs": spec.needs,
        "item ids": rows - 1,
        "titles": rows - 1,
        "items in the index": rows - 1,
        "width of the index": spec.dim,
        "types": {"float32"},
        "shapes": shapes,
    }
    for name, value in found.items():
        if value != expected[name]:
            raise BundleError(
                f"{directory}: {name}: found {value}, expected {expected[name]}; "
                "the bundle's parts come from different runs: train it again"
            )


def _verified(directory: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the files' contents, each checked against the manifest."""
    files = FILES | {manifest.encoder.file}
    if missing := files - manifest.files.keys():
        raise BundleError(f"{directory / MANIFEST} names no {', '.join(sorted(missing))}; train the bundle again")
    if foreign := manifest.files.keys() - files:
        raise BundleError(
            f"{directory / MANIFEST} names files that no bundle has: {', '.join(sorted(foreign))}; "
            "it was not written by this version of nextclick"
        )
    return {name: _read_verified(directory / name, spec) for name, spec in sorted(manifest.files.items())}


def _read_verified(path: Path, spec: FileSpec) -> bytes:
    raw = _read(path)
    if len(raw) != spec.bytes:
        raise BundleError(f"{path} has {len(raw)} bytes, the manifest says {spec.bytes}; copy the bundle again")
    found = hashlib.sha256(raw).hexdigest()
    if found != spec.sha256:
        raise BundleError(
            f"{path} is damaged: sha256 {found[:16]}..., the manifest says {spec.sha256[:16]}...; copy the bundle again"
        )
    return raw


@contextlib.contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Turn what a parser raises into a `BundleError`: the file is what the manifest says, but not what it should be."""
    try:
        yield
    except (msgspec.MsgspecError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BundleError(
            f"{path} does not hold what its name says ({type(error).__name__}: {error}); it was not written by "
            "`nextclick train`: train the bundle again"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{path} is not there; a bundle is a directory made by `nextclick train`, with {MANIFEST} in it"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
