"""Putting a bundle together from the contents of its files, and checking that they fit together."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from serving.bundle.contents import Bundle, Vectors
from serving.bundle.manifest import MANIFEST, EncoderSpec, Manifest
from serving.catalogue import Catalogue
from serving.counters import Counter, read_counter
from serving.counters.tensors import Tensor
from serving.encoders import Encoder, EventTables, RecurrentEncoder, WindowEncoder
from serving.encoders.events import SILENCES
from serving.errors import BundleError
from serving.index import Index
from serving.retrieval import Blend, CounterSide, EncoderSide, NearestItems, NoEncoder, Retrieval

INDEX = "index.faiss"
ITEMS = "items.json"
TENSORS = "items.safetensors"
COUNTERS = "counters.safetensors"


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    item_ids: list[str]
    titles: list[str] | None


def files_of(manifest: Manifest) -> set[str]:
    """Return the names of the files that a bundle with this manifest has, but for the golden sessions."""
    files = {ITEMS, TENSORS}
    if manifest.encoder is not None:
        files |= {manifest.encoder.file, INDEX}
    if manifest.counters:
        files.add(COUNTERS)
    return files


def put_together(directory: Path, manifest: Manifest, identity: str, files: Mapping[str, bytes]) -> Bundle:
    """Make a bundle from the contents of its files.

    Raises:
        BundleError: a file does not hold what its name says, or the parts do not fit together.

    """
    with parsing(directory / ITEMS):
        items = msgspec.json.decode(files[ITEMS], type=_Items)
    with parsing(directory / TENSORS):
        tensors: dict[str, Vectors] = safetensors.numpy.load(files[TENSORS])
    spec = manifest.encoder
    index = None if spec is None else Index.deserialize(files[INDEX], str(directory / INDEX))
    _check_fit(directory, manifest, items, index, tensors)
    catalogue = Catalogue(items.item_ids, items.titles)
    counters = _counters(directory, manifest, files)
    window = max([counter.window for counter in counters], default=0)
    encoder: Encoder | NoEncoder = NoEncoder()
    if spec is not None:
        encoder = load_encoder(spec, files[spec.file], tensors, identity)
        window = max(window, spec.window)
    return Bundle(
        id=identity,
        directory=directory,
        manifest=manifest,
        catalogue=catalogue,
        encoder=encoder,
        index=index,
        vectors=tensors.get("vectors", np.zeros((manifest.item_count + 1, 0), np.float32)),
        popularity=tensors["popularity"],
        retrieval=_retrieval(directory, manifest, index, tensors, counters, catalogue),
        window=window,
    )


@contextlib.contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turn what a parser raises into a `BundleError`: the file is what the manifest says, but not what it should be."""
    try:
        yield
    except (msgspec.MsgspecError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BundleError(
            f"{path} does not hold what its name says ({type(error).__name__}: {error}); it was not written by "
            "`nextclick train`: train the bundle again"
        ) from error


def counter_tensors(counters: Sequence[Counter]) -> bytes:
    """Return the file that holds the tensors of counters, each name behind the counter's place."""
    return safetensors.numpy.save(
        {
            f"{place}/{name}": tensor
            for place, counter in enumerate(counters)
            for name, tensor in counter.tensors().items()
        }
    )


def _counters(directory: Path, manifest: Manifest, files: Mapping[str, bytes]) -> list[Counter]:
    if not manifest.counters:
        return []
    with parsing(directory / COUNTERS):
        tensors = safetensors.numpy.load(files[COUNTERS])
    own: list[dict[str, Tensor]] = [{} for _ in manifest.counters]
    owner = {str(place): found for place, found in enumerate(own)}
    for key, tensor in tensors.items():
        place, _, name = key.partition("/")
        if place not in owner:
            raise BundleError(
                f"{directory / COUNTERS} holds {key!r}, which belongs to none of the {len(own)} counters of "
                f"{MANIFEST}: export the bundle again"
            )
        owner[place][name] = tensor
    counters = []
    for number, (spec, found) in enumerate(zip(manifest.counters, own, strict=True)):
        try:
            counters.append(read_counter(spec.kind, spec.parameters, found, manifest.item_count))
        except BundleError as error:
            raise BundleError(
                f"{directory / COUNTERS}, counter {number} ({spec.kind}) of {MANIFEST}: {error}"
            ) from error
    return counters


def load_encoder(spec: EncoderSpec, onnx: bytes, tensors: Mapping[str, Vectors], bundle: str) -> Encoder:
    """Return the runtime of an exported network.

    Raises:
        BundleError: the network is not of the form that `spec` says.

    """
    tables = EventTables(
        tensors.get("input_vectors", tensors["vectors"]),
        tensors.get("type_vectors"),
        tensors.get("silence_vectors"),
        spec.event_types,
    )
    if spec.form == "window":
        return WindowEncoder(onnx, tables, dim=spec.dim, window=spec.window, time_of=spec.time_of)
    return RecurrentEncoder(onnx, tables, state_size=spec.state_size, dim=spec.dim, window=spec.window, bundle=bundle)


def _retrieval(
    directory: Path,
    manifest: Manifest,
    index: Index | None,
    tensors: Mapping[str, Vectors],
    counters: list[Counter],
    catalogue: Catalogue,
) -> Retrieval:
    spec, blend = manifest.encoder, manifest.blend
    if blend is None:
        if index is None or counters:
            raise BundleError(
                f"{directory / MANIFEST} names {manifest.model or 'no model'}, and no blend to say what it counts: "
                "train the bundle again"
            )
        return NearestItems(index)
    if not len(counters) == len(blend.counters) == len(blend.floors):
        raise BundleError(
            f"{directory / MANIFEST} has {len(counters)} counters, and a blend of {len(blend.counters)} weights and "
            f"{len(blend.floors)} floors: train the bundle again"
        )
    side = None
    if spec is not None and index is not None:
        side = EncoderSide(index=index, vectors=tensors["vectors"], scale=spec.scale, weight=blend.encoder)
    sides = [
        CounterSide(counter=counter, weight=weight, floor=floor)
        for counter, weight, floor in zip(counters, blend.counters, blend.floors, strict=True)
    ]
    return Blend(side, sides, catalogue, blend.candidates)


def _check_fit(
    directory: Path, manifest: Manifest, items: _Items, index: Index | None, tensors: Mapping[str, Vectors]
) -> None:
    spec, rows = manifest.encoder, manifest.item_count + 1
    found = {
        "what it needs": manifest.needs,
        "item ids": len(items.item_ids),
        "titles": rows - 1 if items.titles is None else len(items.titles),
        "items in the index": rows - 1 if index is None else len(index),
        "width of the index": 0 if index is None else index.dim,
        "types": {str(table.dtype) for table in tensors.values()},
        "shapes": {name: table.shape for name, table in tensors.items()},
    }
    expected = {
        "what it needs": [] if spec is None else spec.needs,
        "item ids": rows - 1,
        "titles": rows - 1,
        "items in the index": rows - 1,
        "width of the index": 0 if spec is None else spec.dim,
        "types": {"float32"},
        "shapes": _shapes(spec, rows, "input_vectors" in tensors),
    }
    for name, value in found.items():
        if value != expected[name]:
            raise BundleError(
                f"{directory}: {name}: found {value}, expected {expected[name]}; "
                "the bundle's parts come from different runs: train it again"
            )


def _shapes(spec: EncoderSpec | None, rows: int, own_inputs: bool) -> dict[str, tuple[int, ...]]:
    """Return the tensors that there must be, and their shapes."""
    shapes: dict[str, tuple[int, ...]] = {"popularity": (rows,)}
    if spec is None:
        return shapes
    shapes["vectors"] = (rows, spec.dim)
    if own_inputs or spec.input_dim != spec.dim:
        shapes["input_vectors"] = (rows, spec.input_dim)
    if spec.event_types:
        shapes["type_vectors"] = (len(spec.event_types) + 1, spec.input_dim)
    if spec.silences:
        shapes["silence_vectors"] = (SILENCES, spec.input_dim)
    return shapes
