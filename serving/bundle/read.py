"""Loading a bundle: every byte is checked before any parser sees it, then the golden sessions are played."""

import hashlib
from pathlib import Path

import msgspec
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

    Raises:
        BundleError: which file, what was found, what was expected, and what to do.

    """
    manifest, raw = read_manifest(directory)
    if manifest.encoder.form != "step":
        raise BundleError(
            f"{directory / MANIFEST} says encoder form {manifest.encoder.form!r}, this version runs 'step': "
            "run a newer nextclick"
        )
    _verify(directory, manifest)
    bundle = load_parts(directory, manifest, bundle_id(raw))
    check_golden(bundle, msgspec.json.decode(_read(directory / GOLDEN), type=list[GoldenSession]))
    return bundle


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """Return the manifest and its bytes, whose hash is the bundle's id; the other files are not looked at."""
    raw = _read(directory / MANIFEST)
    return decode_manifest(raw, str(directory / MANIFEST)), raw


def load_parts(directory: Path, manifest: Manifest, identity: str) -> Bundle:
    """Put the parts of a verified bundle together, and check that they fit."""
    items = msgspec.json.decode(_read(directory / ITEMS), type=_Items)
    tensors: dict[str, Vectors] = safetensors.numpy.load(_read(directory / TENSORS))
    index = Index.load(str(directory / INDEX))
    spec, rows = manifest.encoder, manifest.item_count + 1
    vectors = tensors["vectors"]
    inputs = tensors.get("input_vectors", vectors)
    found = (len(items.item_ids) + 1, len(index) + 1, index.dim, vectors.shape, inputs.shape)
    expected = (rows, rows, spec.dim, (rows, spec.dim), (rows, spec.input_dim))
    if found != expected:
        raise BundleError(
            f"{directory}: item ids, index, index width, vectors and input vectors are {found}, expected {expected}; "
            "the bundle's parts come from different runs: train it again"
        )
    encoder = RecurrentEncoder(
        _read(directory / ENCODER_FILE),
        inputs,
        state_size=spec.state_size,
        dim=spec.dim,
        window=spec.window,
        bundle=identity,
    )
    return Bundle(
        id=identity,
        directory=directory,
        manifest=manifest,
        catalogue=Catalogue(items.item_ids, items.titles),
        encoder=encoder,
        index=index,
        vectors=vectors,
        popularity=tensors["popularity"],
    )


def _verify(directory: Path, manifest: Manifest) -> None:
    if missing := FILES - manifest.files.keys():
        raise BundleError(f"{directory / MANIFEST} names no {', '.join(sorted(missing))}; train the bundle again")
    if foreign := manifest.files.keys() - FILES:
        raise BundleError(
            f"{directory / MANIFEST} names files that no bundle has: {', '.join(sorted(foreign))}; "
            "it was not written by this version of nextclick"
        )
    for name, spec in sorted(manifest.files.items()):
        _verify_file(directory / name, spec)


def _verify_file(path: Path, spec: FileSpec) -> None:
    raw = _read(path)
    if len(raw) != spec.bytes:
        raise BundleError(f"{path} has {len(raw)} bytes, the manifest says {spec.bytes}; copy the bundle again")
    found = hashlib.sha256(raw).hexdigest()
    if found != spec.sha256:
        raise BundleError(
            f"{path} is damaged: sha256 {found[:16]}..., the manifest says {spec.sha256[:16]}...; copy the bundle again"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{path} is not there; a bundle is a directory made by `nextclick train`, with {MANIFEST} in it"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
