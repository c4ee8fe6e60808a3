"""The training loop: batches, loss, step; validation, early stopping and a checkpoint after every epoch.

On a CPU, the same data, configuration and seed give the same weights, bit for bit, at the same number of threads on
the same type of CPU. All that is random in an epoch (order, dropout, negatives) comes from a seed made of the run's
seed and the epoch's number, so a training that goes on from a checkpoint ends with the weights of one that never
stopped.

Shape suffixes, this file only:
    T targets of a batch    D width
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from serving import ranks
from serving.errors import WrongUse
from training.batches import Batch, Windows, epoch_batches
from training.checkpoint import Checkpoint, save_checkpoint
from training.checks import above, at_least
from training.determinism import deterministic, seeded
from training.errors import TrainingError
from training.losses import Loss
from training.models import SessionEncoder
from training.optimizer import (
    OptimizerConfig,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)

MONITORED_AT = 20
"""Length of the lists in validation."""

# Before this share of a time budget is used, the pace says little about the rest.
BUDGET_TRIAL = 0.1


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
    threads: int = 2
    """CPU threads of torch; another number rounds differently."""

    def __post_init__(self) -> None:
        at_least(1, epochs=self.epochs, batch_targets=self.batch_targets, patience=self.patience, threads=self.threads)
        known = ranks.summary(np.zeros(0, dtype=np.int64), MONITORED_AT)
        if self.monitor not in known:
            raise WrongUse(f"monitor {self.monitor!r} is no validation figure; there are {', '.join(known)}")


class Epoch(msgspec.Struct):
    """What one epoch brought: the mean loss of its targets, and the validation figures after it."""

    number: int
    loss: float
    validation: dict[str, float]


class Progress(msgspec.Struct):
    """How far a training is: all that a checkpoint holds beside tensors."""

    epochs: list[Epoch] = msgspec.field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False

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


@dataclass
class Trainer:
    """One training of an encoder; `run` trains it in place.

    Args:
        encoder: freshly built, or of any state that training shall start from.
        windows: the training data.
        loss: see `training.losses`.
        validate: gives the encoder's validation figures, called after each epoch.
        config: the loop's own settings.
        optimizer: the optimiser's.
        seed: decides order, dropout and negatives.
        checkpoints: a folder for a checkpoint after each epoch, or None.
        identity: what a checkpoint says it belongs to (recipe, seed, data).
        max_seconds: a budget for `run`. Where the plan does not fit, it is shortened to what fits, schedule included;
            the result then depends on the machine's speed.
        report: called after each step and epoch.

    """

    encoder: SessionEncoder
    windows: Windows
    loss: Loss
    validate: Callable[[], dict[str, float]]
    config: LoopConfig
    optimizer: OptimizerConfig
    seed: int
    checkpoints: Path | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    max_seconds: float | None = None
    report: Callable[[Report], None] = lambda _: None

    def __post_init__(self) -> None:
        if self.max_seconds is not None:
            above(0, max_seconds=self.max_seconds)
        self.progress = Progress()
        self._optimizer = make_optimizer(self.optimizer, self.encoder, looks_up=self.loss.looks_up)
        self._best = _copied(self.encoder.state_dict())
        self._planned = self.config.epochs * self.windows.targets
        self._done = self._done_before = 0

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, with the weights, the optimiser and the account that it holds."""
        self.progress = msgspec.convert(checkpoint.progress, Progress)
        self.encoder.load_state_dict(_within("encoder/", checkpoint.tensors))
        self._best = _within("best/", checkpoint.tensors)
        load_optimizer_tensors(self._optimizer, _within("optimizer/", checkpoint.tensors))
        self._done = self._done_before = len(self.progress.epochs) * self.windows.targets

    def run(self) -> Progress:
        """Train to the end of the plan, the budget or the patience; leave the best weights in the encoder.

        Raises:
            TrainingError: the loss is no number any more.

        """
        self._began = time.monotonic()
        self._first_step = math.inf, 0
        with deterministic(self.config.threads):
            while not self.progress.finished:
                epoch = self._epoch(len(self.progress.epochs) + 1)
                self._conclude(epoch)
        self.encoder.load_state_dict(self._best)
        self.encoder.eval()
        return self.progress

    def _epoch(self, number: int) -> Epoch:
        """Train for one epoch, or until the time is up, and validate."""
        generator = seeded(self.seed, number)
        self.encoder.train()
        total, seen = 0.0, 0
        for batch in epoch_batches(self.windows, self.config.batch_targets, generator, self.encoder.time_of):
            targets = int(batch.mask.sum())
            total += self._step(batch, generator) * targets
            seen += targets
            self._done += targets
            if self._first_step[0] == math.inf:
                self._first_step = time.monotonic(), self._done
            self.report(Report(self._share_done(), number, total / seen, self._eta_s()))
            if self._share_done() >= 1:
                break
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} in epoch {number}: training diverged; lower the learning rate "
                f"(optimizer.learning_rate is {self.optimizer.learning_rate:g})"
            )
        return Epoch(number, total / seen, self.validate())

    def _step(self, batch: Batch, generator: torch.Generator) -> float:
        vectors_TD = self.encoder(batch.sessions)[batch.mask]
        loss: Tensor = self.loss(self.encoder, vectors_TD, batch.targets[batch.mask], generator)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step(self._share_done())
        return loss.item()

    def _conclude(self, epoch: Epoch) -> None:
        """Enter an epoch into the account, keep its weights if they are the best, and write the checkpoint."""
        progress = self.progress
        whole = self._done == epoch.number * self.windows.targets
        best = progress.best()
        progress.epochs.append(epoch)
        if best is None or epoch.validation[self.config.monitor] > best.validation[self.config.monitor]:
            progress.best_epoch = epoch.number
            self._best = _copied(self.encoder.state_dict())
        waited = epoch.number - progress.best_epoch
        progress.finished = self._share_done() >= 1 or waited >= self.config.patience
        if self.checkpoints is not None and whole:
            save_checkpoint(self.checkpoints, self._checkpoint())
        self.report(
            Report(1.0 if progress.finished else self._share_done(), epoch.number, epoch.loss, self._eta_s(), epoch)
        )

    def _checkpoint(self) -> Checkpoint:
        tensors = {f"encoder/{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(self._optimizer).items()}
        return Checkpoint(self.identity, msgspec.to_builtins(self.progress), tensors)

    def _share_done(self) -> float:
        """Return the share of the plan, or of what fits into the budget at the pace so far, that is done."""
        return self._done / min(self._planned, self._fitting())

    def _fitting(self) -> float:
        """Return the targets that a run within the budget learns from, infinite while nothing says that it is short."""
        if self.max_seconds is None:
            return math.inf
        now = time.monotonic()
        left = self.max_seconds - (now - self._began)
        if left <= 0:
            return max(1, self._done)
        # The first step is no measure: it loads half of torch.
        began, done = self._first_step
        if now - began < BUDGET_TRIAL * self.max_seconds:
            return math.inf
        return self._done + left * (self._done - done) / (now - began)

    def _eta_s(self) -> float:
        elapsed, done_here = time.monotonic() - self._began, self._done - self._done_before
        share, before = self._share_done(), self._done_before / self._planned
        return elapsed * (1 - share) / (share - before) if done_here and share > before else math.inf


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _within(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
