"""What a training is told and what it tells: its settings, its epochs, and how far it is."""

from dataclasses import dataclass

import msgspec
import numpy as np

from serving import ranks
from serving.errors import WrongUse
from training.checks import at_least
from training.device import Device, Precision

MONITORED_AT = (10, 20)
"""Lengths of the lists in validation."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and in which portions to train."""

    epochs: int = 10
    batch_targets: int = 256
    """Next clicks that one step learns from, about."""
    patience: int = 3
    """Epochs without a better validation figure after which training stops; the best weights are kept."""
    monitor: str = "ndcg@20"
    """The validation figure that decides, one of `serving.ranks.summary`."""
    validation_cases: int = 20_000
    """Validation clicks that are looked at after an epoch, at most: those of the first sessions of a fixed shuffle."""
    threads: int = 2
    """CPU threads of torch; another number rounds differently."""
    device: Device = "auto"
    """Where to compute: "auto" is a GPU where there is one."""
    precision: Precision = "float32"
    """"bf16": matrix products of the encoder and of the softmax's gradients in bfloat16, all sums in float32."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, batch_targets=self.batch_targets, patience=self.patience, threads=self.threads)
        at_least(1, validation_cases=self.validation_cases)
        known = ranks.summary(np.zeros(0, dtype=np.int64), MONITORED_AT)
        if self.monitor not in known:
            raise WrongUse(f"monitor {self.monitor!r} is no validation figure; there are {', '.join(known)}")


class Epoch(msgspec.Struct):
    """What one epoch brought: the mean loss of its targets, and the figures after it, none without validation."""

    number: int
    loss: float
    validation: dict[str, float]


class Within(msgspec.Struct):
    """How far an epoch is: batches and targets done, and the sum of the targets' losses."""

    batches: int = 0
    targets: int = 0
    loss: float = 0.0


class Progress(msgspec.Struct):
    """How far a training is: all that a checkpoint holds beside tensors.

    `within` is of the epoch that a checkpoint interrupts; `shortened` says that a time budget changed the schedule.
    """

    epochs: list[Epoch] = msgspec.field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False
    within: Within | None = None
    shortened: bool = False
    processes: int = 1

    def best(self) -> Epoch | None:
        """Return the epoch whose weights are kept, None before the first."""
        return self.epochs[self.best_epoch - 1] if self.best_epoch else None


@dataclass(frozen=True)
class Report:
    """What a caller may show while a training runs: after each step, and (with `epoch`) after each epoch.

    `done` is the share of the whole training, 0 to 1; `loss` the mean over the epoch so far.
    """

    done: float
    number: int
    loss: float
    eta_s: float
    epoch: Epoch | None = None
