"""Trained bundles of any size: a real one whose catalogue is cut, or grown from its own item vectors.

Nobody publishes a catalogue of a million items with clicks to train on, and random vectors would say nothing: in 64
dimensions they have no near neighbours, an HNSW index finds a quarter of them instead of nine tenths. So a GRU is
trained on real sessions (DIGINETICA, 43,000 items), and a larger catalogue is drawn from the density of its vectors:

    new item = x + 0.7 * sum_j g_j (n_j - x) / sqrt(8),  g ~ N(0, 1),  scaled to length 1

with x a trained item taken at random and n_1 .. n_8 its nearest neighbours: noise as wide and in the same directions as
the neighbourhood it falls into. `likeness` measures how far that is like the real thing: it leaves three quarters of
the trained items out, grows the rest to the old size, and compares distances and index recall with those of the trained
ones. The queries are session vectors of real sessions that were not trained on, clicking trained items.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle, BundleContents, GoldenEvents, load_bundle, write_bundle
from serving.bundle.manifest import BUNDLE_FORMAT
from serving.encoders import RecurrentEncoder
from serving.index import Index
from tests.benchmarks.results import CACHE, say
from tests.public_data import data_home
from training.data.dataset import read_test, read_training
from training.data.protocol import parse_protocol
from training.data.sequences import to_sequences
from training.recipes import find_recipe, override
from training.train import train_bundle

Floats = npt.NDArray[np.float32]

# What an earlier version made may be unreadable.
MADE = CACHE / f"bundles-{BUNDLE_FORMAT}"
DATA = "diginetica-weeks"
DIM = 64
NEIGHBOURS = 8
WIDTH = 0.7
STRUCTURE = "HNSW16"
FACTORY = f"{STRUCTURE} efConstruction=100,efSearch=32"
FIRST_NEW_ID = 10_000_000
K = 10
QUERIES = 2_000


def trained_bundle() -> Bundle:
    """Return the GRU that everything is grown from, trained once; two and a half minutes of one core."""
    directory = MADE / "trained"
    if not directory.exists():
        changes = [f"model.dim={DIM}", f"model.hidden={DIM}", "loop.epochs=5", "loop.batch_targets=2048"]
        recipe = replace(override(find_recipe("rsc15_100k"), changes), counters=())
        say(f"training a GRU on {DATA}")
        training = read_training(data_home() / DATA, parse_protocol(recipe.protocol))
        train_bundle(recipe, training, seed=0, out=directory)
    return load_bundle(directory)


def real_sessions(bundle: Bundle) -> list[list[str]]:
    """Return the held-out sessions as item ids, oldest first; clicks on items that the bundle does not know are out."""
    log = read_test(data_home() / DATA, parse_protocol("next-item")).log
    ids = bundle.catalogue.item_ids
    return [[ids[row] for row in rows] for rows in to_sequences(log.frame, bundle.catalogue) if len(rows)]


def grown_bundle(items: int) -> Bundle:
    """Return a bundle with so many items, made once; a million takes four minutes of one core."""
    directory = MADE / f"items-{items}"
    if not directory.exists():
        trained = trained_bundle()
        say(f"building {FACTORY} over {items:,} items")
        write_bundle(directory, _contents(trained, items))
    return load_bundle(directory)


def session_vectors(bundle: Bundle, sessions: Sequence[Sequence[str]]) -> Floats:
    """Return the session vector after each click of the sessions, shuffled, the first `QUERIES` of them."""
    encoder, vectors = bundle.encoder, []
    assert isinstance(encoder, RecurrentEncoder)  # it was trained as one
    for session in sessions[: QUERIES * 2]:
        state = np.zeros((1, bundle.manifest.session_encoder.state_size), np.float32)
        for row in bundle.catalogue.rows(session[: bundle.manifest.session_encoder.window]):
            state, vector = encoder.step([(int(row), 0, 0)], state)
            vectors.append(vector[0])
    chosen = np.random.default_rng(0).permutation(len(vectors))[:QUERIES]
    return np.stack(vectors)[chosen]


def index_recall(index: Index, vectors: Floats, queries: Floats) -> float:
    """Return the share of the exact top 10 that the index finds."""
    exact = exact_top(vectors, queries)
    _, found = index.search(queries, K)
    return sum(len(np.intersect1d(a, b)) for a, b in zip(exact, found, strict=True)) / exact.size


def exact_top(vectors: Floats, queries: Floats) -> npt.NDArray[np.int64]:
    """Return the rows of the ten items with the largest inner product, `[n, 10]`."""
    found = []
    for start in range(0, len(queries), 100):
        scores = queries[start : start + 100] @ vectors[1:].T
        found.append(1 + np.argpartition(-scores, K, axis=1)[:, :K])
    return np.concatenate(found)


def grow(vectors: Floats, items: int, seed: int = 0) -> Floats:
    """Return item vectors `[items + 1, D]` whose first are the given ones, `[N + 1, D]`; row 0 is padding."""
    if items < len(vectors):
        return vectors[: items + 1]
    random = np.random.default_rng(seed)
    known = vectors[1:]
    _, rows = Index.build(vectors, "Flat").search(known, NEIGHBOURS + 1)
    neighbours = rows[:, 1:] - 1
    new = np.empty((items - len(known), vectors.shape[1]), np.float32)
    for start in range(0, len(new), 10_000):
        part = new[start : start + 10_000]
        source = random.integers(0, len(known), len(part))
        weights = random.standard_normal((len(part), NEIGHBOURS), np.float32) * WIDTH / np.sqrt(np.float32(NEIGHBOURS))
        towards = known[neighbours[source]] - known[source][:, None]
        part[:] = known[source] + np.einsum("nk,nkd->nd", weights, towards)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return np.vstack([vectors, new])


def likeness(trained: Bundle, queries: Floats) -> dict[str, dict[str, Any]]:
    """Compare the trained vectors with a quarter of them grown to their number."""
    vectors = trained.vectors
    quarter = 1 + np.random.default_rng(0).permutation(len(vectors) - 1)[: (len(vectors) - 1) // 4]
    kept = np.vstack([vectors[:1], vectors[quarter]])
    return {"trained": _shape(vectors, queries), "grown": _shape(grow(kept, len(vectors) - 1), queries)}


def _shape(vectors: Floats, queries: Floats) -> dict[str, Any]:
    scores, _ = Index.build(vectors, "Flat").search(queries[:1000], 100)
    recalls = {}
    for effort in (16, 32, 64, 128):
        index = Index.build(vectors, f"{STRUCTURE} efConstruction=100,efSearch={effort}")
        recalls[f"recall_at_10_ef_{effort}"] = round(index_recall(index, vectors, queries[:1000]), 3)
    distances = {f"distance_to_{k}": round(float(np.median(1 - scores[:, k - 1])), 3) for k in (1, 10, 100)}
    return {"items": len(vectors) - 1, **distances, **recalls}


def _contents(trained: Bundle, items: int) -> BundleContents:
    ids = trained.catalogue.item_ids[1 : items + 1]
    known = len(ids)
    popularity = np.zeros(items + 1, np.float32)
    popularity[: known + 1] = trained.popularity[: known + 1]
    return BundleContents(
        encoder=trained.manifest.encoder,
        encoder_onnx=(trained.directory / trained.manifest.session_encoder.file).read_bytes(),
        item_ids=[*ids, *(f"{FIRST_NEW_ID + number}" for number in range(items - known))],
        vectors=grow(trained.vectors, items),
        popularity=popularity,
        index_factory=FACTORY,
        recipe={"name": f"{trained.manifest.recipe['name']} on {DATA}, {items} items"},
        golden_sessions=[GoldenEvents(items=list(ids[:3]), types=["view"] * 3, times=[0, 1000, 2000])],
    )
