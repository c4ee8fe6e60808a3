"""Optimisers and their learning rate over the course of a training."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.checks import above, at_least, share


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights follow gradients."""

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 3e-3
    """The highest that the schedule reaches."""
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    warm_up: float = 0.2
    """Share of the training in which a one-cycle schedule rises."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    """Gradients longer than this, over all weights, are cut to it."""

    def __post_init__(self) -> None:
        above(0, learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        share(warm_up=self.warm_up, momentum=self.momentum)
        at_least(0, weight_decay=self.weight_decay)


def make_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser; the loop sets its learning rate before each step."""
    parameters = list(parameters)
    if config.kind == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    # Fused: one pass over each table instead of five.
    return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state by "number of the parameter/name"; its settings are the recipe's, not state."""
    return {
        f"{number}/{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the settings stay those that the optimiser was made with."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def learning_rate(config: OptimizerConfig, progress: float) -> float:
    """Return the learning rate after a share of the training, 0 to 1.

    One-cycle (Smith and Topin, 2017, https://arxiv.org/abs/1708.07120): a cosine from a 25th up to the highest, then
    a cosine down to a 10,000th of the start, as torch's OneCycleLR has it.
    """
    high = config.learning_rate
    if config.schedule == "constant":
        return high
    low = high / 25
    if progress < config.warm_up:
        return _cosine(low, high, progress / config.warm_up)
    return _cosine(high, low / 1e4, min(1.0, (progress - config.warm_up) / (1 - config.warm_up)))


def _cosine(begin: float, end: float, share_done: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share_done)) / 2
