"""Writing a bundle: whole or not at all."""

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy

from serving.bundle.contents import Bundle, BundleContents, Vectors
from serving.bundle.golden import GOLDEN, golden_lists
from serving.bundle.manifest import (
    BUNDLE_FORMAT,
    MANIFEST,
    CounterSpec,
    EncoderSpec,
    FileSpec,
    IndexSpec,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from serving.bundle.parts import COUNTERS, INDEX, ITEMS, TENSORS, counter_tensors, put_together
from serving.bundle.read import load_bundle
from serving.errors import BundleError, WrongUse
from serving.index import Index
from serving.settings import MAX_SESSION_LENGTH


def write_bundle(directory: Path, contents: BundleContents) -> Bundle:
    """Write the contents as a bundle and load it again, verified.

    It is written into a folder beside `directory` that takes its name when every file is on the disk, so nobody
    ever sees half a bundle.

    Raises:
        WrongUse: the directory exists already, or the index cannot be built.
        BundleError: the contents do not fit together.

    """
    if directory.exists():
        raise WrongUse(f"{directory} exists already; bundles are never overwritten: name another directory")
    _check(contents)
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        _write_files(unfinished, contents)
        bundle = load_bundle(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(directory)
        _sync(directory.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return dataclasses.replace(bundle, directory=directory)


def _write_files(directory: Path, contents: BundleContents) -> None:
    tables = {
        "popularity": contents.popularity,
        "vectors": contents.vectors,
        "input_vectors": contents.input_vectors,
        "type_vectors": contents.type_vectors,
        "silence_vectors": contents.silence_vectors,
    }
    tensors = {name: np.ascontiguousarray(table, np.float32) for name, table in tables.items() if table is not None}
    items = {"item_ids": list(contents.item_ids), "titles": None if contents.titles is None else list(contents.titles)}
    files = {ITEMS: msgspec.json.encode(items), TENSORS: safetensors.numpy.save(tensors)}
    spec = None
    if contents.encoder is not None and contents.vectors is not None:
        index = Index.build(contents.vectors, contents.index_factory)
        files |= {contents.encoder.file: contents.encoder_onnx, INDEX: index.serialize()}
        recall = _index_recall(index, contents.vectors)
        spec = IndexSpec(factory=contents.index_factory, metric="inner_product", recall_at_10=recall)
    if contents.counters:
        files[COUNTERS] = counter_tensors(contents.counters)
    for name, raw in files.items():
        _write(directory / name, raw)
    # The golden lists are made by the very files that were just written, before the manifest seals them.
    draft = decode_manifest(encode_manifest(_manifest(contents, files, spec)), str(directory / MANIFEST))
    bundle = put_together(directory, draft, "draft", files)
    files[GOLDEN] = msgspec.json.encode(golden_lists(bundle, contents.golden_sessions))
    _write(directory / GOLDEN, files[GOLDEN])
    _write(directory / MANIFEST, encode_manifest(_manifest(contents, files, spec)))
    _sync(directory)


def _manifest(contents: BundleContents, files: Mapping[str, bytes], index: IndexSpec | None) -> Manifest:
    return Manifest(
        format=BUNDLE_FORMAT,
        needs=[] if contents.encoder is None else contents.encoder.needs,
        encoder=contents.encoder,
        index=index,
        counters=[
            CounterSpec(kind=counter.kind, parameters=msgspec.to_builtins(counter.parameters))
            for counter in contents.counters
        ],
        blend=contents.blend,
        item_count=len(contents.item_ids),
        recipe=contents.recipe,
        seed=contents.seed,
        code_revision=contents.code_revision,
        data=contents.data,
        metrics=contents.metrics,
        files={name: FileSpec(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest()) for name, raw in files.items()},
    )


def _index_recall(index: Index, vectors: Vectors) -> float:
    """Return the share of the exact top 10 that the index finds, for up to 1,000 of the item vectors as queries."""
    k = min(10, len(vectors) - 1)
    queries = vectors[1 : 1 + 1000]
    _, found = index.search(queries, k)
    _, exact = Index.build(vectors, "Flat").search(queries, k)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True))
    return hits / exact.size


def _check(contents: BundleContents) -> None:
    """Refuse contents that do not fit together, before anything is written."""
    rows = len(contents.item_ids) + 1
    if rows < 2:
        raise BundleError("a bundle needs at least one item; the training data has none left")
    if len(set(contents.item_ids)) != rows - 1 or "" in contents.item_ids:
        raise BundleError("item ids must be distinct and not empty")
    if contents.titles is not None and len(contents.titles) != rows - 1:
        raise BundleError(f"{len(contents.titles)} titles for {rows - 1} items; give one for each, or none")
    if contents.popularity.shape != (rows,):
        raise BundleError(f"popularity have shape {contents.popularity.shape}, expected {(rows,)} for {rows - 1} items")
    needs = [] if contents.encoder is None else contents.encoder.needs
    if needs and contents.golden_sessions:
        raise BundleError(f"a bundle that needs {', '.join(needs)} gives no lists, so it has no golden sessions")
    if not needs and not contents.golden_sessions:
        raise BundleError("a bundle without golden sessions is refused by every worker: give one session at least")
    windows = [("counter", counter.window) for counter in contents.counters]
    if contents.encoder is not None:
        windows.append(("encoder", contents.encoder.window))
        _check_encoder(contents, contents.encoder, rows)
    for name, window in windows:
        if window > MAX_SESSION_LENGTH:
            raise BundleError(
                f"the {name} reads the last {window} events, no session keeps more than {MAX_SESSION_LENGTH}: "
                "train it with a shorter window"
            )


def _check_encoder(contents: BundleContents, spec: EncoderSpec, rows: int) -> None:
    vectors = contents.vectors
    if vectors is None:
        raise BundleError("an encoder needs item vectors")
    inputs = vectors if contents.input_vectors is None else contents.input_vectors
    expected = {"vectors": (vectors.shape, (rows, spec.dim)), "input vectors": (inputs.shape, (rows, spec.input_dim))}
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise BundleError(f"{name} have shape {found}, expected {wanted} for {rows - 1} items and {spec}")
    tables = {
        "vectors": vectors,
        "input vectors": inputs,
        "type vectors": contents.type_vectors,
        "silence vectors": contents.silence_vectors,
    }
    for name, table in tables.items():
        if table is not None and not np.isfinite(table).all():
            raise BundleError(f"{name} hold NaN or infinity: training diverged; lower the learning rate")
    for name, table in (("vectors", vectors), ("input vectors", inputs)):
        if table[0].any():
            raise BundleError(f"row 0 of {name} is padding and must be zeros")


def _write(path: Path, raw: bytes) -> None:
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
