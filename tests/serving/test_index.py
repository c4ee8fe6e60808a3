"""The contract of every index that ships: what a query finds depends on the query alone."""

import numpy as np
import pytest

from serving.errors import BundleError, WrongUse
from serving.index import Index, check_factory

FACTORIES = ["Flat", "HNSW16", "HNSW16_SQ8", "HNSW16 efConstruction=100,efSearch=64", "IVF32,Flat nprobe=4", "SQ8"]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(2_001, 16)).astype(np.float32)
    vectors[0] = 0.0
    return vectors


@pytest.fixture(scope="module", params=FACTORIES)
def index(request: pytest.FixtureRequest, vectors: np.ndarray) -> Index:
    return Index.build(vectors, request.param)


def queries(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 16)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, 19, 20, 21, 64, 255])
def test_results_do_not_depend_on_the_batch(index: Index, batch: int) -> None:
    scores, rows = index.search(queries(256), 21)
    for start in range(0, 256, batch):
        part_scores, part_rows = index.search(queries(256)[start : start + batch], 21)
        assert part_rows.tobytes() == rows[start : start + batch].tobytes()
        assert part_scores.tobytes() == scores[start : start + batch].tobytes()


def test_results_survive_the_file(index: Index) -> None:
    scores, rows = index.search(queries(20), 10)
    loaded_scores, loaded_rows = Index.deserialize(index.serialize(), "index.faiss").search(queries(20), 10)
    assert (scores.tobytes(), rows.tobytes()) == (loaded_scores.tobytes(), loaded_rows.tobytes())


@pytest.mark.parametrize(("structure", "parameter"), [("HNSW16", "efSearch"), ("IVF32,Flat", "nprobe")])
def test_a_parameter_behind_the_factory_string_is_kept_in_the_file(
    structure: str, parameter: str, vectors: np.ndarray
) -> None:
    _, exact = Index.build(vectors, "Flat").search(queries(50), 10)
    found = []
    for value in (1, 16):
        built = Index.build(vectors, f"{structure} {parameter}={value}")
        _, rows = Index.deserialize(built.serialize(), "index.faiss").search(queries(50), 10)
        found.append((rows == exact).sum())
    assert found[0] < found[1]


def test_a_flat_index_is_exact_and_counts_rows_from_one(vectors: np.ndarray) -> None:
    _, rows = Index.build(vectors, "Flat").search(queries(50), 10)
    exact = np.argsort(-(queries(50) @ vectors[1:].T), axis=1)[:, :10] + 1
    assert (rows == exact).all()


def test_equal_scores_are_ordered_by_row() -> None:
    vectors = np.zeros((9, 2), np.float32)
    vectors[1:, 0] = [1, 2, 1, 2, 1, 2, 1, 2]
    scores, rows = Index.build(vectors, "Flat").search(np.array([[1.0, 0.0]], np.float32), 8)
    assert rows.tolist() == [[2, 4, 6, 8, 1, 3, 5, 7]]
    assert scores.tolist() == [[2, 2, 2, 2, 1, 1, 1, 1]]


def test_places_without_an_item_have_row_zero(vectors: np.ndarray) -> None:
    scores, rows = Index.build(vectors[:4], "Flat").search(queries(1), 5)
    assert sorted(rows[0, :3].tolist()) == [1, 2, 3]
    assert rows[0, 3:].tolist() == [0, 0]
    assert np.isneginf(scores[0, 3:]).all()


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("Flatt", "could not parse index string Flatt"),
        ("HNSW16 nprobs=3", "ParameterSpace::set_index_parameter:.*could not set parameter nprobs"),
        ("IVF5000,Flat", r"Number of training points \(2000\) should be at least as large as number of clusters"),
        ("PQ5", "The dimension of the vector"),
        ("LSH", "'metric == METRIC_L2' failed"),
        ("IDMap,Flat", "add does not make sense with IndexIDMap"),
    ],
)
def test_an_index_that_cannot_be_built_names_factory_string_and_reason_before_and_after_training(
    vectors: np.ndarray, factory: str, reason: str
) -> None:
    sentence = f"^FAISS cannot build index '{factory}' over 2000 items: {reason}.*; 'Flat' always works$"
    with pytest.raises(WrongUse, match=sentence):
        Index.build(vectors, factory)
    with pytest.raises(WrongUse, match=sentence):
        check_factory(factory, items=2000, dim=16)


@pytest.mark.parametrize("factory", FACTORIES)
def test_an_index_that_can_be_built_passes_the_check(factory: str) -> None:
    check_factory(factory, items=2000, dim=16)


@pytest.mark.parametrize("raw", [b"", b"not an index", b"IxFI"])
def test_bytes_that_are_no_index_are_refused(raw: bytes) -> None:
    with pytest.raises(BundleError, match=r"index\.faiss is no FAISS index"):
        Index.deserialize(raw, "index.faiss")
