"""Optimisers and their learning rate over the course of a training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from serving.errors import WrongUse
from training.checks import above, at_least, share
from training.models import SessionEncoder
from training.row_optimizer import RowOptimizer

SPARSE_FROM = 100_000
"""Items from which "auto" updates the rows of a batch alone: a dense step takes 2.4 times as long there, and as long at
about 30,000 (`tests/benchmarks/training_step.py`)."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights follow gradients."""

    kind: Literal["adam", "adamw", "sgd", "adagrad"] = "adam"
    learning_rate: float = 3e-3
    """The highest that the schedule reaches."""
    schedule: Literal["one-cycle", "warm-up", "warm-up-cosine", "constant"] = "one-cycle"
    warm_up: float = 0.2
    """Share of the training in which the schedule rises."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 0.0
    """AdamW takes this share of a weight, times the learning rate, away in each step; the others add it, times the
    weight, to the gradient. A sparse table's row decays in the steps that look it up."""
    clip_norm: float = 1.0
    """Gradients longer than this, over all weights, are cut to it."""
    tables: Literal["auto", "dense", "sparse"] = "auto"
    """Whether a step changes every row of the item tables or those of its batch (`training.row_optimizer`); "auto"
    decides by the size of the catalogue, and is dense where the loss has a gradient for every item."""

    def __post_init__(self) -> None:
        above(0, learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        share(warm_up=self.warm_up, momentum=self.momentum)
        at_least(0, weight_decay=self.weight_decay)


class Optimizer:
    """Steps an encoder's weights after their gradients, by a configuration.

    Args:
        config: how.
        weights: all that train.
        tables: those of them whose gradients are sparse.

    """

    def __init__(
        self, config: OptimizerConfig, weights: Iterable[nn.Parameter], tables: Sequence[nn.Parameter]
    ) -> None:
        self._config = config
        self._weights = list(weights)
        self.parts: dict[str, torch.optim.Optimizer] = {}
        """torch's optimisers at work."""
        sparse = {id(table) for table in tables}
        if dense := [weight for weight in self._weights if id(weight) not in sparse]:
            self.parts["dense"] = _dense(config, dense)
        if tables:
            momentum, decay = config.momentum, config.weight_decay
            self.parts["rows"] = RowOptimizer(tables, config.kind, momentum=momentum, weight_decay=decay)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts.values():
            part.zero_grad()

    def step(self, progress: float) -> None:
        """Cut the gradients to the configured length, and follow them, after a share of the training, 0 to 1."""
        clip(self._weights, self._config.clip_norm)
        for part in self.parts.values():
            for group in part.param_groups:
                group["lr"] = learning_rate(self._config, progress)
            part.step()


def make_optimizer(config: OptimizerConfig, encoder: SessionEncoder, *, looks_up: bool) -> Optimizer:
    """Return the optimiser of an encoder, and make its item tables' gradients sparse where the configuration says so.

    `looks_up` tells whether the loss looks up a batch's items alone (`training.losses.Loss.looks_up`).

    Raises:
        WrongUse: sparse tables are asked for, and the loss has a gradient for every item.

    """
    if config.tables == "sparse" and not looks_up:
        raise WrongUse(
            "tables are 'sparse', but a full softmax has a gradient for every item: "
            "take a loss with negatives (loss.kind), or optimizer.tables=auto"
        )
    large = encoder.items.output.num_embeddings > SPARSE_FROM
    sparse = config.tables == "sparse" or (config.tables == "auto" and looks_up and large)
    return Optimizer(config, encoder.parameters(), encoder.items.make_sparse() if sparse else [])


def _dense(config: OptimizerConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    match config.kind:
        case "sgd":
            return torch.optim.SGD(weights, lr=rate, momentum=config.momentum, weight_decay=decay)
        # Fused: one pass over each table instead of five.
        case "adagrad":
            return torch.optim.Adagrad(weights, lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=True)


@torch.no_grad()
def clip(weights: Iterable[nn.Parameter], length: float) -> None:
    """Shorten the gradients of all weights together to a length, as `torch.nn.utils.clip_grad_norm_` does.

    That one cannot do it to sparse gradients, where a row that was looked up twice has to be added up first.
    """
    values = []
    for weight in weights:
        if weight.grad is not None:
            weight.grad = weight.grad.coalesce() if weight.grad.is_sparse else weight.grad
            values.append(weight.grad.values() if weight.grad.is_sparse else weight.grad)
    factor = torch.clamp(length / (torch.nn.utils.get_total_norm(values) + 1e-6), max=1.0)
    for value in values:
        value.mul_(factor)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return its state by "part/number of the parameter/name"; its settings are the recipe's, not state."""
    return {
        f"{part}/{number}/{name}": value
        for part, inner in optimizer.parts.items()
        for number, state in inner.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the settings stay those that the optimiser was made with."""
    states: dict[str, dict[int, dict[str, Tensor]]] = {part: {} for part in optimizer.parts}
    for key, tensor in tensors.items():
        part, number, name = key.split("/")
        states[part].setdefault(int(number), {})[name] = tensor
    for part, inner in optimizer.parts.items():
        inner.load_state_dict({"state": states[part], "param_groups": inner.state_dict()["param_groups"]})


def learning_rate(config: OptimizerConfig, progress: float) -> float:
    """Return the learning rate after a share of the training, 0 to 1.

    One-cycle (Smith and Topin, 2017, https://arxiv.org/abs/1708.07120): a cosine from a 25th up to the highest, then
    a cosine down to a 10,000th of the start, as torch's OneCycleLR has it. The warm-ups rise in a straight line from
    nothing, and then stay, or follow a cosine down to nothing.
    """
    high = config.learning_rate
    if config.schedule == "constant":
        return high
    low = high / 25 if config.schedule == "one-cycle" else 0.0
    if progress < config.warm_up:
        risen = progress / config.warm_up
        return _cosine(low, high, risen) if config.schedule == "one-cycle" else high * risen
    if config.schedule == "warm-up":
        return high
    return _cosine(high, low / 1e4, min(1.0, (progress - config.warm_up) / (1 - config.warm_up)))


def _cosine(begin: float, end: float, share_done: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share_done)) / 2
