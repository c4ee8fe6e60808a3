import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.groups import popularity_deciles, popularity_groups


def test_deciles_of_training_clicks_by_hand() -> None:
    # Of 20 clicks, item 2 has 10: it begins at 0 and fills deciles 1 to 5. Items 1 and 3 have 4 each, 5 has 2.
    assert popularity_deciles(np.array([0, 4, 10, 4, 0, 2])).tolist() == [0, 6, 1, 8, 0, 10]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_deciles_follow_popularity_and_leave_out_what_nobody_clicked(counts: list[int]) -> None:
    clicks = np.array([0, *counts])
    deciles = popularity_deciles(clicks)
    assert ((deciles == 0) == (clicks == 0)).all()
    known = np.flatnonzero(clicks)
    order = known[np.lexsort((known, -clicks[known]))]
    assert (np.diff(deciles[order]) >= 0).all()
    assert deciles.max(initial=0) <= 10
    if len(known):
        assert deciles[order[0]] == 1


def test_items_of_equal_popularity_fill_ten_equal_deciles() -> None:
    assert np.bincount(popularity_deciles(np.r_[0, np.full(50, 3)])).tolist() == [1, *[5] * 10]


def test_groups_by_hand() -> None:
    clicks = np.array([0, 4, 10, 4, 0, 2])
    # Targets: item 2 at rank 1, unknown, item 5 at rank 2, item 4 (never clicked in training) missed, item 2 at rank 4.
    targets, ranks = np.array([2, 0, 5, 4, 2]), np.array([1, 0, 2, 0, 4])
    groups = {group.name: group for group in popularity_groups(targets, clicks, cold_below=3)}
    assert list(groups) == ["decile 1", "decile 6", "decile 8", "decile 10", "cold"]
    assert groups["decile 1"].figures(ranks, 3) == {
        "group": "decile 1",
        "items": 1,
        "cases": 2,
        "recall@3": 1 / 2,
        "mrr@3": 1 / 2,
        "ndcg@3": 1 / 2,
    }
    cold = groups["cold"].figures(ranks, 3)
    assert (cold["items"], cold["cases"]) == (2, 3)
    assert cold["mrr@3"] == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert groups["decile 8"].figures(ranks, 3)["cases"] == 0
