import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import DataError
from training.negatives import Negatives

DRAWS = 200_000


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [1 / 6, 2 / 6, 3 / 6]), (1.0, [1 / 14, 4 / 14, 9 / 14])],
)
def test_items_are_drawn_by_a_power_of_their_popularity(alpha: float, expected: list[float]) -> None:
    negatives = Negatives(torch.tensor([99.0, 1.0, 4.0, 9.0]), alpha)
    drawn = negatives.draw(DRAWS, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / DRAWS
    assert shares.tolist() == pytest.approx([0, *expected], abs=0.005)
    assert negatives.log_q_V[1:].exp().tolist() == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(
    popularity=st.lists(st.integers(1, 1000), min_size=1, max_size=50), alpha=st.floats(0, 2), seed=st.integers(0, 99)
)
def test_padding_is_never_drawn(popularity: list[int], alpha: float, seed: int) -> None:
    negatives = Negatives(torch.tensor([0.0, *popularity]), alpha)
    drawn = negatives.draw(1000, torch.Generator().manual_seed(seed))
    assert drawn.min() >= 1
    assert drawn.max() <= len(popularity)


def test_an_item_without_clicks_is_drawn_only_where_all_are_alike() -> None:
    popularity = torch.tensor([0.0, 0.0, 5.0])
    assert Negatives(popularity, 1.0).draw(100, torch.Generator().manual_seed(0)).tolist() == [2] * 100
    assert set(Negatives(popularity, 0.0).draw(100, torch.Generator().manual_seed(0)).tolist()) == {1, 2}


def test_the_same_generator_gives_the_same_draw() -> None:
    negatives = Negatives(torch.ones(100), 0.5)
    first, second = (negatives.draw(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_no_items_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no items to draw"):
        Negatives(torch.zeros(1), 0.5)
