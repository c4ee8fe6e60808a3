import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.conftest import as_events
from training.batches import cut_windows, epoch_batches
from training.errors import DataError
from training.negatives import InBatch, Mixed, Popular, make_source, target_counts

DRAWS = 200_000
NONE = torch.zeros(0, dtype=torch.int64)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [1 / 6, 2 / 6, 3 / 6]), (1.0, [1 / 14, 4 / 14, 9 / 14])],
)
def test_items_are_drawn_by_a_power_of_their_popularity(alpha: float, expected: list[float]) -> None:
    popular = Popular(torch.tensor([99.0, 1.0, 4.0, 9.0]), alpha, DRAWS)
    drawn = popular.draw(NONE, _generator())
    assert (torch.bincount(drawn.rows, minlength=4) / DRAWS).tolist() == pytest.approx([0, *expected], abs=0.005)
    assert (popular.log_expected(torch.tensor([1, 2, 3])).exp() / DRAWS).tolist() == pytest.approx(expected)
    assert torch.equal(drawn.log_expected, popular.log_expected(drawn.rows))


@settings(max_examples=50, deadline=None)
@given(
    popularity=st.lists(st.integers(1, 1000), min_size=1, max_size=50), alpha=st.floats(0, 2), seed=st.integers(0, 99)
)
def test_padding_is_never_drawn(popularity: list[int], alpha: float, seed: int) -> None:
    drawn = Popular(torch.tensor([0.0, *popularity]), alpha, 1000).draw(NONE, _generator(seed)).rows
    assert drawn.min() >= 1
    assert drawn.max() <= len(popularity)


def test_an_item_without_clicks_is_drawn_only_where_all_are_alike() -> None:
    popularity = torch.tensor([0.0, 0.0, 5.0])
    assert Popular(popularity, 1.0, 100).draw(NONE, _generator()).rows.tolist() == [2] * 100
    assert set(Popular(popularity, 0.0, 100).draw(NONE, _generator()).rows.tolist()) == {1, 2}


@pytest.mark.parametrize("drawn_share", [0.0, 0.5, 1.0])
def test_the_same_generator_gives_the_same_draw(drawn_share: float) -> None:
    source = make_source(torch.ones(100), torch.ones(100), 0.5, 50, drawn_share)
    targets = torch.arange(1, 60)
    first, second = (source.draw(targets, _generator(3)) for _ in range(2))
    assert torch.equal(first.rows, second.rows)
    assert torch.equal(first.log_expected, second.log_expected)


def test_in_batch_negatives_are_the_targets_and_expected_by_their_share_in_training() -> None:
    targets = torch.tensor([2, 1, 2, 3])
    negatives = InBatch(torch.tensor([0.0, 5.0, 4.0, 1.0])).draw(targets, _generator())
    assert negatives.rows.tolist() == targets.tolist()
    # Not by their share in the batch: item 2 is half of it, and .4 of training.
    assert negatives.log_expected.exp().tolist() == pytest.approx([1.6, 2.0, 1.6, 0.4])


def test_mixed_negatives_are_expected_by_both_parts() -> None:
    clicks, targets = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 4.0, 1.0])
    mixed = Mixed(Popular(clicks, 1.0, 6), InBatch(targets, 2))
    negatives = mixed.draw(torch.tensor([1, 1, 1, 1, 1]), _generator())
    assert len(negatives.rows) == 8
    assert negatives.rows[6:].tolist() == [1, 1]
    expected = {1: 6 / 4 + 2 * 0.8, 2: 6 * 3 / 4 + 2 * 0.2}
    assert negatives.log_expected.exp().tolist() == pytest.approx([expected[row] for row in negatives.rows.tolist()])


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), share=st.floats(0.01, 0.99), targets=st.integers(1, 40))
def test_a_share_is_drawn_and_the_rest_are_other_targets(count: int, share: float, targets: int) -> None:
    drawn = round(share * count)
    batch = torch.arange(targets) + 101
    clicks = torch.zeros(200)
    clicks[1:100] = 1
    rows = make_source(clicks, torch.ones(200), 1.0, count, share).draw(batch, _generator()).rows
    from_batch = rows[rows > 100].tolist()
    assert (rows < 100).sum() == drawn
    assert len(set(from_batch)) == len(from_batch) == (targets if drawn == 0 else min(targets, count - drawn))


def test_no_items_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no items to draw"):
        Popular(torch.zeros(1), 0.5, 3)


@settings(max_examples=50, deadline=None)
@given(
    sessions=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=9),
    window=st.integers(2, 8),
)
def test_targets_are_counted_as_an_epoch_brings_them(sessions: list[list[int]], window: int) -> None:
    windows = cut_windows(as_events(sessions), window)
    expected = torch.zeros(10)
    if windows.targets:
        for batch in epoch_batches(windows, 5, _generator()):
            expected += torch.bincount(batch.targets[batch.mask], minlength=10)
    counts: Tensor = target_counts(windows, 9)
    assert counts.tolist() == expected.tolist()
    # A session's targets are all its clicks but the first.
    assert counts.sum() == np.sum([len(session) - 1 for session in sessions])
