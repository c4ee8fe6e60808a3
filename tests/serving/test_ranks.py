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
    assert ranks.figure(RANKS, "precision", 4) == (1 / 4 + 1 / 4 + 0 + 0) / 4


def test_f1_is_the_harmonic_mean_of_precision_and_recall_case_by_case() -> None:
    hit = 2 * (1 / 4) * 1 / (1 / 4 + 1)
    assert ranks.figure(RANKS, "f1", 4) == pytest.approx((hit + hit) / 4)


def test_mrr_and_ndcg_discount_by_rank() -> None:
    assert ranks.mrr(RANKS, 4) == pytest.approx((1 + 1 / 3) / 4)
    assert ranks.ndcg(RANKS, 4) == pytest.approx((1 / math.log2(2) + 1 / math.log2(4)) / 4)


def test_what_each_case_adds_to_a_metric() -> None:
    assert ranks.gains(RANKS, "mrr", 4).tolist() == [1, 1 / 3, 0, 0]
    assert ranks.gains(RANKS, "recall", 5).tolist() == [1, 1, 1, 0]
    assert ranks.gains(RANKS, "ndcg", 5).tolist() == [1, 1 / 2, 1 / math.log2(6), 0]


def test_the_average_precision_of_one_item_is_its_reciprocal_rank() -> None:
    assert ranks.figure(RANKS, "map", 4) == (1 + 1 / 3) / 4


def test_a_summary_has_every_metric_at_every_k() -> None:
    found = ranks.summary(RANKS, (1, 5))
    assert found.keys() == {f"{metric}@{k}" for metric in ranks.METRICS for k in (1, 5)}
    assert (found["recall@1"], found["recall@5"]) == (1 / 4, 3 / 4)
    assert ranks.summary(RANKS, 5).items() <= found.items()


def test_no_cases_give_zero_and_k_must_be_positive() -> None:
    assert ranks.mrr(np.array([], np.int64), 20) == 0.0
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        ranks.hit_rate(RANKS, 0)
