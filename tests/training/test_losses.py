import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from serving.errors import WrongUse
from training.losses import Loss, LossConfig
from training.losses.sampled import binary, bpr_max, gbce_beta, sampled_softmax
from training.losses.softmax import full_softmax
from training.models import GRUConfig, SessionEncoder, build_encoder

ITEMS = 12
KINDS = get_args(get_type_hints(LossConfig)["kind"])
SAMPLED = [kind for kind in KINDS if kind != "softmax"]


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _with_padding(items: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, items.shape[1], dtype=items.dtype), items])


def _none(targets: int, negatives: int) -> Tensor:
    """No collisions."""
    return torch.zeros(targets, negatives, dtype=torch.bool)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_full_softmax_is_the_mean_of_minus_log_probability() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    items = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    # Scores of items 1, 2, 3 are 1, 0, 1 for the first vector and 0, 2, 1 for the second; row 0 has none.
    first = -math.log(math.exp(1) / (math.exp(1) + math.exp(0) + math.exp(1)))
    second = -math.log(math.exp(1) / (math.exp(0) + math.exp(2) + math.exp(1)))
    loss = full_softmax(vectors, torch.tensor([1, 3]), items, scale=1.0, max_scores=100)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_scale_multiplies_the_scores() -> None:
    vectors, items = _random(0, 3, 4), _with_padding(_random(1, ITEMS, 4))
    targets = torch.tensor([1, 5, 12])
    scaled = full_softmax(vectors, targets, items, scale=7.0, max_scores=100)
    assert scaled.item() == pytest.approx(full_softmax(7 * vectors, targets, items, scale=1.0, max_scores=100).item())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**20), targets=st.integers(1, 20), scale=st.floats(0.1, 50), scores=st.integers(1, 300))
def test_a_full_softmax_in_portions_is_torchs_own(seed: int, targets: int, scale: float, scores: int) -> None:
    wanted = _random(seed, targets, 4).requires_grad_(), _random(seed + 1, ITEMS + 1, 4).requires_grad_()
    rows = torch.randint(1, ITEMS + 1, (targets,), generator=torch.Generator().manual_seed(seed))
    vectors, items = wanted
    ours = full_softmax(vectors, rows, items, scale, max_scores=scores)
    torchs = cross_entropy(scale * (vectors @ items[1:].T), rows - 1)
    assert ours.item() == pytest.approx(torchs.item(), rel=1e-12)
    # Any factor may stand behind the loss.
    for one, other in zip(torch.autograd.grad(3 * ours, wanted), torch.autograd.grad(3 * torchs, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_sampled_softmax_without_logq_compares_with_the_negatives_as_they_are() -> None:
    expected = -math.log(math.exp(2) / (math.exp(2) + math.exp(1) + math.exp(-2)))
    loss = sampled_softmax(torch.tensor([2.0]), torch.tensor([[1.0, -2.0]]), _none(1, 2), None)
    assert loss.tolist() == pytest.approx([expected])


def test_logq_divides_each_negative_by_how_often_it_is_expected_in_the_draw() -> None:
    expected = -math.log(math.exp(2) / (math.exp(2) + math.exp(1) / 0.2 + math.exp(0) / 0.8))
    often = torch.tensor([0.2, 0.8]).log()
    loss = sampled_softmax(torch.tensor([2.0]), torch.tensor([[1.0, 0.0]]), _none(1, 2), often)
    assert loss.tolist() == pytest.approx([expected])


def test_binary_cross_entropy_is_the_mean_over_target_and_negatives() -> None:
    expected = -(math.log(_sigmoid(2)) + math.log(1 - _sigmoid(1)) + math.log(1 - _sigmoid(-2))) / 3
    loss = binary(torch.tensor([2.0]), torch.tensor([[1.0, -2.0]]), _none(1, 2))
    assert loss.tolist() == pytest.approx([expected])


def test_gbce_takes_the_targets_probability_to_the_power_of_beta() -> None:
    expected = -(math.log(_sigmoid(2) ** 0.3) + math.log(1 - _sigmoid(1)) + math.log(1 - _sigmoid(-2))) / 3
    loss = binary(torch.tensor([2.0]), torch.tensor([[1.0, -2.0]]), _none(1, 2), beta=0.3)
    assert loss.tolist() == pytest.approx([expected])


def test_beta_is_the_papers() -> None:
    for t in (0.0, 0.75, 1.0):
        for rate in (0.01, 0.5, 1.0):
            assert gbce_beta(t, rate) == pytest.approx(rate * (t * (1 - 1 / rate) + 1 / rate))
    assert gbce_beta(1.0, 3.0) == 1  # more draws than items


@pytest.mark.parametrize("score", [-1e4, 1e4])
def test_gbce_of_extreme_scores_is_a_number_with_a_gradient(score: float) -> None:
    positive, negative = torch.tensor([score], requires_grad=True), torch.tensor([[score]], requires_grad=True)
    loss = binary(positive, negative, _none(1, 1), beta=0.01).sum()
    # A certain wrong answer costs its score, a certain right one nothing.
    assert loss.item() == pytest.approx((1e4 if score > 0 else 1e4 * 0.01) / 2)
    to_positive, to_negative = torch.autograd.grad(loss, (positive, negative))
    assert (to_positive.item(), to_negative.item()) == pytest.approx((0, 0.5) if score > 0 else (-0.005, 0))


def test_bpr_max_weighs_negatives_by_their_softmax_and_keeps_their_scores_low() -> None:
    total = math.exp(1) + math.exp(-2)
    first, second = math.exp(1) / total, math.exp(-2) / total
    expected = -math.log(first * _sigmoid(2 - 1) + second * _sigmoid(2 + 2)) + 0.5 * (first * 1 + second * 4)
    loss = bpr_max(torch.tensor([2.0]), torch.tensor([[1.0, -2.0]]), _none(1, 2), regularization=0.5)
    assert loss.tolist() == pytest.approx([expected])


OF_SCORES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sampled softmax": lambda positive, negative, hit: sampled_softmax(positive, negative, hit, None),
    "bce": binary,
    "gbce": lambda positive, negative, hit: binary(positive, negative, hit, 0.3),
    "bpr-max": lambda positive, negative, hit: bpr_max(positive, negative, hit, 1.0),
}


@pytest.mark.parametrize("name", OF_SCORES)
def test_a_negative_that_is_the_target_is_masked(name: str) -> None:
    positive, negative = torch.tensor([2.0, 1.0]), torch.tensor([[2.0, 0.3, -1.0], [0.5, 1.0, -2.0]])
    negative.requires_grad_()
    collisions = torch.tensor([[True, False, False], [False, True, False]])
    losses = OF_SCORES[name](positive, negative, collisions)
    first = OF_SCORES[name](positive[:1], negative[:1, 1:], _none(1, 2))
    second = OF_SCORES[name](positive[1:], negative[1:, ::2], _none(1, 2))
    assert losses.tolist() == pytest.approx([first.item(), second.item()])
    (gradient,) = torch.autograd.grad(losses.sum(), negative)
    assert ((gradient == 0) == collisions).all()


@pytest.mark.parametrize("name", OF_SCORES)
def test_a_target_whose_negatives_are_all_masked_is_compared_with_none(name: str) -> None:
    positive, negative = torch.tensor([2.0]).requires_grad_(), torch.tensor([[2.0]]).requires_grad_()
    loss = OF_SCORES[name](positive, negative, torch.tensor([[True]]))
    beta = {"bce": 1.0, "gbce": 0.3}.get(name, 0.0)
    assert loss.item() == pytest.approx(-beta * math.log(_sigmoid(2)))
    to_positive, to_negative = torch.autograd.grad(loss.sum(), (positive, negative))
    assert to_positive.item() == pytest.approx(-beta * (1 - _sigmoid(2)))
    assert to_negative.item() == 0


def _encoder() -> SessionEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_encoder(GRUConfig(dim=4, hidden=4), ITEMS)


def _loss(**settings: Any) -> Loss:
    return Loss(LossConfig(**settings), torch.arange(ITEMS + 1.0), torch.ones(ITEMS + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_is_a_mean_over_the_targets_that_it_is_given(kind: str) -> None:
    encoder, loss = _encoder(), _loss(kind=kind, negatives=7)
    vectors, targets = _random(0, 5, 4).float(), torch.tensor([1, 2, 3, 4, 5])

    def of(rows: slice) -> float:
        return loss(encoder, vectors[rows], targets[rows], torch.Generator().manual_seed(0)).item()

    assert of(slice(0, 5)) == pytest.approx((2 * of(slice(0, 2)) + 3 * of(slice(2, 5))) / 5, rel=1e-5)


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_loss_is_that_of_the_scores_with_the_batchs_own_targets(kind: str) -> None:
    """In-batch negatives need no draw, so the whole can be written down."""
    encoder, targets = _encoder(), torch.tensor([1, 2, 3, 2])
    vectors = _random(0, 4, 4).float()
    scores = encoder.scale * (vectors @ encoder.item_vectors()[targets].T)
    arguments = scores.diag(), scores, targets[:, None] == targets[None, :]
    often = torch.full((4,), 4 / ITEMS).log()
    expected = {
        "sampled-softmax": lambda: sampled_softmax(*arguments, often),
        "bce": lambda: binary(*arguments),
        "gbce": lambda: binary(*arguments, gbce_beta(0.6, 4 / (ITEMS - 1))),
        "bpr-max": lambda: bpr_max(*arguments, 0.2),
    }[kind]()
    loss = _loss(kind=kind, source="in-batch", t=0.6, regularization=0.2)
    got = loss(encoder, vectors, targets, torch.Generator())
    assert got.item() == pytest.approx(expected.mean().item(), rel=1e-5)


@pytest.mark.parametrize("source", ["uniform", "popularity", "in-batch", "mixed"])
@pytest.mark.parametrize("kind", SAMPLED)
def test_a_loss_in_portions_is_the_whole_one(kind: str, source: str) -> None:
    encoder, targets = _encoder().double(), torch.tensor([1, 2, 3, 4, 5, 5, 7])
    vectors = _random(0, 7, 4).requires_grad_()
    wanted = vectors, encoder.get_parameter("items.output.weight")

    def of(max_scores: int) -> tuple[Tensor, ...]:
        loss = _loss(kind=kind, source=source, negatives=6, max_scores=max_scores)
        value = loss(encoder, vectors, targets, torch.Generator().manual_seed(0))
        return value, *torch.autograd.grad(2 * value, wanted)

    whole = of(7 * 7)
    for portioned in (of(1), of(13), of(20)):
        for one, other in zip(portioned, whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size of the largest tensor that torch makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_scores_are_made_at_once_than_the_setting_says(kind: str) -> None:
    items, targets, limit = 400, 300, 10_000
    encoder = build_encoder(GRUConfig(dim=4, hidden=4), items)
    loss = Loss(
        LossConfig(kind=kind, negatives=400, max_scores=limit),  # type: ignore[arg-type]
        torch.ones(items + 1),
        torch.ones(items + 1),
    )
    vectors = torch.randn(targets, 4, requires_grad=True)
    with _Largest() as largest:  # type: ignore[no-untyped-call]
        loss(encoder, vectors, torch.arange(targets) + 1, torch.Generator()).backward()  # type: ignore[no-untyped-call]
    # All scores are 120,000, the table 1,604 numbers; a portion's target and negatives stand side by side.
    assert 4_000 < largest.elements <= limit + limit // items


def test_only_a_full_softmax_needs_every_item() -> None:
    assert [kind for kind in KINDS if not _loss(kind=kind).looks_up] == ["softmax"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"negatives": 0}, "negatives must be at least 1, not 0"),
        ({"max_scores": 0}, "max_scores must be at least 1, not 0"),
        ({"alpha": -1}, "alpha must be at least 0, not -1"),
        ({"regularization": -1}, "regularization must be at least 0, not -1"),
        ({"t": 1.5}, "t must be from 0 to 1, not 1.5"),
        ({"drawn": -0.1}, "drawn must be from 0 to 1, not -0.1"),
    ],
)
def test_a_value_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        LossConfig(**settings)


def test_a_full_softmax_with_rounded_factors_has_the_same_loss_and_nearly_the_same_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(50, 16, generator=generator).requires_grad_()
    items = torch.randn(41, 16, generator=generator).requires_grad_()
    targets = torch.randint(1, 41, (50,), generator=generator)
    found = []
    for products in (None, torch.bfloat16):
        loss = full_softmax(vectors, targets, items, 1.0, 300, products)
        found.append((loss.item(), torch.cat([x.flatten() for x in torch.autograd.grad(loss, (vectors, items))])))
    (exact, gradient), (rounded_loss, rounded) = found
    assert rounded_loss == exact
    assert 0 < (rounded - gradient).norm() < 0.01 * gradient.norm()
