import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import WrongUse
from training.losses import Loss, LossConfig, full_softmax, sampled_softmax
from training.models import GRUConfig, build_encoder

ITEMS = 12


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _with_padding(items: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(1, items.shape[1], dtype=items.dtype), items])


def test_full_softmax_is_the_mean_of_minus_log_probability() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    items = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    # Scores of items 1, 2, 3 are 1, 0, 1 for the first vector and 0, 2, 1 for the second; row 0 has none.
    first = -math.log(math.exp(1) / (math.exp(1) + math.exp(0) + math.exp(1)))
    second = -math.log(math.exp(1) / (math.exp(0) + math.exp(2) + math.exp(1)))
    loss = full_softmax(vectors, torch.tensor([1, 3]), items, scale=1.0)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_scale_multiplies_the_scores() -> None:
    vectors, items = _random(0, 3, 4), _with_padding(_random(1, ITEMS, 4))
    targets = torch.tensor([1, 5, 12])
    scaled = full_softmax(vectors, targets, items, scale=7.0)
    assert scaled.item() == pytest.approx(full_softmax(7 * vectors, targets, items, scale=1.0).item())


def test_sampled_softmax_without_logq_compares_with_the_negatives_as_they_are() -> None:
    vectors = torch.tensor([[2.0]])
    items = {4: 1.0, 7: 0.5, 9: -1.0}
    # The target scores 2 * 1, the negatives 2 * 0.5 and 2 * -1.
    expected = -math.log(math.exp(2) / (math.exp(2) + math.exp(1) + math.exp(-2)))
    loss = sampled_softmax(
        vectors,
        torch.tensor([4]),
        torch.tensor([[items[4]]]),
        torch.tensor([7, 9]),
        torch.tensor([[items[7]], [items[9]]]),
        None,
        scale=1.0,
    )
    assert loss.item() == pytest.approx(expected)


def test_logq_divides_each_negative_by_how_often_it_is_expected_in_the_draw() -> None:
    vectors = torch.tensor([[1.0]])
    # Two draws: row 7 (score 1, probability .1) is expected 0.2 times, row 9 (score 0, probability .4) 0.8 times.
    expected = -math.log(math.exp(2) / (math.exp(2) + math.exp(1) / 0.2 + math.exp(0) / 0.8))
    loss = sampled_softmax(
        vectors,
        torch.tensor([4]),
        torch.tensor([[2.0]]),
        torch.tensor([7, 9]),
        torch.tensor([[1.0], [0.0]]),
        torch.tensor([0.1, 0.4]).log(),
        scale=1.0,
    )
    assert loss.item() == pytest.approx(expected)


def test_a_negative_that_is_the_target_is_masked() -> None:
    arguments = (torch.tensor([[1.0]]), torch.tensor([4]), torch.tensor([[2.0]]))
    loss = sampled_softmax(*arguments, torch.tensor([4, 9]), torch.tensor([[2.0], [0.0]]), None, scale=1.0)
    alone = sampled_softmax(*arguments, torch.tensor([9]), torch.tensor([[0.0]]), None, scale=1.0)
    assert loss.item() == pytest.approx(alone.item())


def test_a_batch_whose_negatives_are_all_masked_costs_nothing() -> None:
    loss = sampled_softmax(
        torch.tensor([[1.0]]),
        torch.tensor([4]),
        torch.tensor([[2.0]]),
        torch.tensor([4]),
        torch.tensor([[2.0]]),
        None,
        1.0,
    )
    assert loss.item() == 0


def _gradients(loss: torch.Tensor, wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, wanted)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), alpha=st.sampled_from([0.0, 0.5, 1.0]))
def test_sampled_gradients_converge_to_those_of_the_full_softmax(seed: int, alpha: float) -> None:
    vectors, items = _random(seed, 4, 3).requires_grad_(), _random(seed + 1, ITEMS + 1, 3).requires_grad_()
    targets = torch.randint(1, ITEMS + 1, (4,), generator=torch.Generator().manual_seed(seed))
    weights = torch.rand(ITEMS + 1, generator=torch.Generator().manual_seed(seed)).double().add(0.1) ** alpha
    weights[0] = 0
    q = weights / weights.sum()
    full = _gradients(full_softmax(vectors, targets, items, 1.0), (vectors, items))

    def error(negatives: int) -> float:
        drawn = torch.multinomial(q, negatives, True, generator=torch.Generator().manual_seed(seed))
        sampled = sampled_softmax(vectors, targets, items[targets], drawn, items[drawn], q[drawn].log(), 1.0)
        return float((_gradients(sampled, (vectors, items)) - full).norm() / full.norm())

    # A Monte Carlo estimate: 10,000 times the draws, a hundredth of the error.
    assert error(400_000) < 0.02
    assert error(400_000) < error(40)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_negatives_that_are_the_whole_catalogue_give_the_full_softmax(seed: int) -> None:
    vectors, items = _random(seed, 4, 3), _with_padding(_random(seed + 1, ITEMS, 3))
    targets = torch.randint(1, ITEMS + 1, (4,), generator=torch.Generator().manual_seed(seed))
    everything = torch.arange(1, ITEMS + 1)
    log_q = torch.full((ITEMS,), -math.log(ITEMS), dtype=torch.float64)
    sampled = sampled_softmax(vectors, targets, items[targets], everything, items[everything], log_q, 1.0)
    assert sampled.item() == pytest.approx(full_softmax(vectors, targets, items, 1.0).item())


@pytest.mark.parametrize("negatives", [0, 7])
def test_a_loss_is_a_mean_over_the_targets_that_it_is_given(negatives: int) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(GRUConfig(dim=4, hidden=4), ITEMS)
    loss = Loss(LossConfig(negatives=negatives), torch.ones(ITEMS + 1))
    vectors, targets = torch.randn(5, 4), torch.tensor([1, 2, 3, 4, 5])

    def of(rows: slice) -> float:
        return loss(encoder, vectors[rows], targets[rows], torch.Generator().manual_seed(0)).item()

    assert of(slice(0, 5)) == pytest.approx((2 * of(slice(0, 2)) + 3 * of(slice(2, 5))) / 5, rel=1e-5)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(WrongUse, match="negatives must be at least 0, not -1"):
        LossConfig(negatives=-1)
    with pytest.raises(WrongUse, match="alpha must be at least 0, not -1"):
        LossConfig(alpha=-1)
