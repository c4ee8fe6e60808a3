import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import metrics
from training.evaluation.metrics import coverage, gini, intra_list_diversity, list_figures, novelty

# Three lists over a catalogue of five: items 1, 2, 3 / 2, 1 / nothing.
TOP = np.array([[1, 2, 3], [2, 1, 0], [0, 0, 0]])
VECTORS = np.array([[0, 0], [1, 0], [0, 2], [-3, 0], [1, 1], [0, 0]], np.float32)
NOTHING = np.zeros((2, 3), np.int64)

LISTS = st.lists(
    st.lists(st.integers(1, 8), max_size=4, unique=True).map(lambda rows: rows + [0] * (4 - len(rows))), min_size=1
)


def test_coverage_is_the_share_of_the_catalogue_that_was_shown() -> None:
    assert coverage(TOP, 5) == 3 / 5
    assert coverage(NOTHING, 5) == 0


def test_gini_by_hand() -> None:
    # Shown 0, 0, 1, 2, 2 times: (-4 * 0 - 2 * 0 + 0 * 1 + 2 * 2 + 4 * 2) / (5 * 5).
    assert gini(TOP, 5) == pytest.approx(12 / 25)
    assert gini(np.array([[1, 2], [3, 4]]), 4) == 0
    assert gini(np.array([[1], [1]]), 4) == pytest.approx(1 - 1 / 4)
    assert gini(NOTHING, 5) == 0


def test_novelty_by_hand() -> None:
    # Item 1 has half of the training clicks, 2 a quarter, 3 an eighth; 4 has none, which counts as one.
    clicks = np.array([0, 4, 2, 1, 0, 1])
    assert novelty(TOP, clicks) == pytest.approx(((1 + 2 + 3) / 3 + (1 + 2) / 2) / 2)
    assert novelty(np.array([[4]]), clicks) == pytest.approx(3)
    assert novelty(NOTHING, clicks) == 0


def test_intra_list_diversity_by_hand() -> None:
    # 1 and 2 are at a right angle, 1 and 3 opposite, 2 and 3 at a right angle; 4 lies between 1 and 2; 5 is zero.
    assert intra_list_diversity(TOP[:1], VECTORS) == pytest.approx((1 + 2 + 1) / 3)
    assert intra_list_diversity(np.array([[1, 4, 0]]), VECTORS) == pytest.approx(1 - 1 / math.sqrt(2))
    assert intra_list_diversity(np.array([[1, 5]]), VECTORS) == pytest.approx(1)
    # The mean is over the lists that have a pair.
    assert intra_list_diversity(TOP, VECTORS) == pytest.approx(((1 + 2 + 1) / 3 + 1) / 2)
    assert intra_list_diversity(NOTHING, VECTORS) == 0


@given(LISTS, st.integers(0, 100))
def test_lists_are_counted_as_loops_over_them_would(lists: list[list[int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors, clicks = random.normal(size=(9, 3)).astype(np.float32), random.integers(1, 50, 9)
    clicks[0] = 0
    top = np.array(lists)
    shown = [[row for row in line if row] for line in lists]
    counts = [sum(line.count(row) for line in shown) for row in range(1, 9)]
    if any(counts):
        apart = sum(abs(one - other) for one in counts for other in counts)
        assert gini(top, 8) == pytest.approx(apart / (2 * len(counts) * sum(counts)))
        bits = [np.mean([-math.log2(clicks[row] / clicks.sum()) for row in line]) for line in shown if line]
        assert novelty(top, clicks) == pytest.approx(np.mean(bits))
    angles = [
        np.mean([1 - cosine(vectors[one], vectors[other]) for one, other in itertools.combinations(line, 2)])
        for line in shown
        if len(line) > 1
    ]
    assert intra_list_diversity(top, vectors) == pytest.approx(np.mean(angles) if angles else 0, abs=1e-6)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_diversity_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    top, vectors = random.integers(1, 30, (50, 5)), random.normal(size=(30, 4)).astype(np.float32)
    together = intra_list_diversity(top, vectors)
    monkeypatch.setattr(metrics, "_LISTS", 7)
    assert intra_list_diversity(top, vectors) == pytest.approx(together, abs=1e-12)


def test_all_figures_of_lists_have_names_and_places() -> None:
    found = list_figures(TOP, (1, 3), 5, np.array([0, 4, 2, 1, 0, 1]), VECTORS)
    assert found.keys() == {f"{name}@{k}" for name in ("coverage", "gini", "novelty", "diversity") for k in (1, 3)}
    assert found["coverage@1"] == 2 / 5
    assert found["novelty@1"] == pytest.approx((1 + 2) / 2)
    assert "diversity@3" not in list_figures(TOP, (3,), 5, np.ones(6), None)
