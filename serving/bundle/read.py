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
from serving.bundle.manifest import MANIFEST, FileSpec, Manifest, bundle_id, decode_manifest
from serving.catalogue import Catalogue
from serving.encoders import RecurrentEncoder
from serving.errors import BundleError
from serving.index import Index

ENCODER_FILE = "encoder.step.onnx"
INDEX = "index.faiss"
ITEMS = "items.json"
TENSORS = "items.safetensors"
FILES = frozenset({ENCODER_FILE, INDEX, ITEMS, TENSORS, GOLDEN})


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
    if manifest.encoder.form != "step":
        raise BundleError(
            f"{directory / MANIFEST} says encoder form {manifest.encoder.form!r}, this version runs 'step': "
            "run a newer nextclick"
        )
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
    inputs = tensors.get("input_vectors", vectors)
    index = Index.deserialize(files[INDEX], str(directory / INDEX))
    _check_fit(directory, manifest, (items, index, vectors, inputs, popularity))
    spec = manifest.encoder
    encoder = RecurrentEncoder(
        files[ENCODER_FILE], inputs, state_size=spec.state_size, dim=spec.dim, window=spec.window, bundle=identity
    )
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


def _check_fit(directory: Path, manifest: Manifest, parts: tuple[_Items, Index, Vectors, Vectors, Vectors]) -> None:
    items, index, vectors, inputs, popularity = parts
    spec, rows = manifest.encoder, manifest.item_count + 1
    titles = rows - 1 if items.titles is None else len(items.titles)
    found = {
        "item ids": len(items.item_ids),
        "titles": titles,
        "items in the index": len(index),
        "width of the index": index.dim,
        "vectors": vectors.shape,
        "input vectors": inputs.shape,
        "popularity": popularity.shape,
        "types": {str(table.dtype) for table in (vectors, inputs, popularity)},
    }
    expected = {
        "item ids": rows - 1,
        "titles": rows - 1,
        "items in the index": rows - 1,
        "width of the index": spec.dim,
        "vectors": (rows, spec.dim),
        "input vectors": (rows, spec.input_dim),
        "popularity": (rows,),
        "types": {"float32"},
    }
    for name, value in found.items():
        if value != expected[name]:
            raise BundleError(
                f"{directory}: {name}: found {value}, expected {expected[name]}; "
                "the bundle's parts come from different runs: train it again"
            )


def _verified(directory: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the files' contents, each checked against the manifest."""
    if missing := FILES - manifest.files.keys():
        raise BundleError(f"{directory / MANIFEST} names no {', '.join(sorted(missing))}; train the bundle again")
    if foreign := manifest.files.keys() - FILES:
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
