"""A sampled softmax with logQ learns what the full softmax learns, whatever its negatives are drawn from."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.losses.sampled import sampled_softmax
from training.losses.softmax import full_softmax
from training.negatives import make_source

ITEMS, PROBES, WIDTH = 12, 4, 3
MANY = 400_000
TOLERANCE = 0.02
"""Length of the difference from the full softmax's gradient, to the length of that, with MANY negatives."""

SOURCES = {"uniform": (0.0, 1.0), "popularity": (0.5, 1.0), "clicks": (1.0, 1.0), "mixed": (0.5, 0.3)}
"""alpha, and the share that is drawn by it."""


def _gradients(loss: Tensor, wanted: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, wanted)])


def _error(source: str, counts: Tensor, seed: int, *, negatives: int, logq: bool = True) -> float:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(PROBES, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
    items = torch.randn(ITEMS + 1, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(1, ITEMS + 1, (PROBES,), generator=generator)
    full = _gradients(full_softmax(vectors, targets, items, 1.0, 10**6), (vectors, items))
    # The batch, as training brings it; the gradients of its first few targets are looked at.
    batch = torch.multinomial(counts.double(), negatives, True, generator=generator)
    alpha, drawn = SOURCES[source]
    # Clicks and targets differ in the data, for a session's first click is no target.
    rows, log_expected = make_source(counts + 5, counts, alpha, negatives, drawn).draw(batch, generator)
    losses = sampled_softmax(
        (vectors * items[targets]).sum(dim=1),
        vectors @ items[rows].T,
        targets[:, None] == rows[None, :],
        log_expected.double() if logq else None,
    )
    return float((_gradients(losses.mean(), (vectors, items)) - full).norm() / full.norm())


def _skewed() -> Tensor:
    counts = (torch.arange(ITEMS + 1.0) ** 2).flip(0)
    counts[0] = 0
    return counts + torch.tensor([0.0] + [1.0] * ITEMS)


@pytest.mark.parametrize("source", SOURCES)
def test_gradients_with_logq_converge_to_the_full_softmax(source: str) -> None:
    errors = [_error(source, _skewed(), 7, negatives=count) for count in (40, 4_000, MANY)]
    # A Monte Carlo estimate: a hundred times the draws, a tenth of the error, give or take.
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < TOLERANCE


@pytest.mark.parametrize("source", ["popularity", "clicks", "mixed"])
def test_without_logq_they_converge_to_something_else(source: str) -> None:
    assert _error(source, _skewed(), 7, negatives=MANY, logq=False) > 5 * TOLERANCE


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    source=st.sampled_from(list(SOURCES)),
    counts=st.lists(st.integers(1, 50), min_size=ITEMS, max_size=ITEMS),
)
def test_for_any_counts(seed: int, source: str, counts: list[int]) -> None:
    popularity = torch.tensor([0.0, *counts])
    assert _error(source, popularity, seed, negatives=MANY) < min(0.05, _error(source, popularity, seed, negatives=40))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_negatives_that_are_the_whole_catalogue_give_the_full_softmax(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors, items = (torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) for n in (PROBES, ITEMS + 1))
    targets = torch.randint(1, ITEMS + 1, (PROBES,), generator=generator)
    rows = torch.arange(1, ITEMS + 1)
    losses = sampled_softmax(
        (vectors * items[targets]).sum(dim=1), vectors @ items[rows].T, targets[:, None] == rows[None, :], None
    )
    assert losses.mean().item() == pytest.approx(full_softmax(vectors, targets, items, 1.0, 10**6).item())
