import math

import numpy as np
import pytest

from serving import ranks

# Four cases: first place, third place, fifth place (below k = 4), not found.
RANKS = np.array([1, 3, 5, 0])


def test_hit_rate_and_recall_count_items_among_the_first_k() -> None:
    assert ranks.hit_rate(RANKS, 4) == 2 / 4
    assert ranks.recall(RANKS, 5) == 3 / 4


def test_precision_spreads_a_hit_over_k_places() -> None:
    assert ranks.precision(RANKS, 4) == (1 / 4 + 1 / 4 + 0 + 0) / 4


def test_f1_is_the_harmonic_mean_of_precision_and_recall_case_by_case() -> None:
    hit = 2 * (1 / 4) * 1 / (1 / 4 + 1)
    assert ranks.f1(RANKS, 4) == pytest.approx((hit + hit) / 4)


def test_mrr_and_ndcg_discount_by_rank() -> None:
    assert ranks.mrr(RANKS, 4) == pytest.approx((1 + 1 / 3) / 4)
    assert ranks.ndcg(RANKS, 4) == pytest.approx((1 / math.log2(2) + 1 / math.log2(4)) / 4)


def test_reciprocal_rank_of_one_case_agrees_with_mrr() -> None:
    assert [ranks.reciprocal_rank(int(rank), 4) for rank in RANKS] == [1, 1 / 3, 0, 0]


def test_coverage_is_the_share_of_the_catalogue_that_was_shown() -> None:
    assert ranks.coverage([["a", "b", "c"], ["a", "d", "e"]], 2, 10) == 3 / 10


def test_no_cases_give_zero_and_k_must_be_positive() -> None:
    assert ranks.mrr(np.array([], np.int64), 20) == 0.0
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        ranks.hit_rate(RANKS, 0)
