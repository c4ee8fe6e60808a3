"""The training loop: batches, loss, step; validation, early stopping and a checkpoint after every epoch.

On a CPU, the same data, configuration and seed give the same weights, bit for bit, at the same number of threads and
processes on the same type of CPU. All that is random in an epoch (order, dropout, negatives) comes from a seed made of
the run's seed and the epoch's number, and a checkpoint within an epoch holds how far that has come, so a training that
goes on from a checkpoint ends with the weights of one that never stopped.

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
import torch
from torch import Tensor

from training.account import Epoch, LoopConfig, Progress, Report, Within
from training.batches import Batch, Windows, epoch_batches
from training.checkpoint import Checkpoint, save_checkpoint
from training.determinism import deterministic, seeded
from training.device import computing, find_device
from training.errors import CheckpointError, TrainingError
from training.losses import Loss
from training.models import SessionEncoder
from training.optimizer import (
    OptimizerConfig,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from training.pace import Pace
from training.parallel import ALONE, Group

CHECKPOINT_MINUTES = 10.0
"""Time between checkpoints within an epoch."""


@dataclass
class Trainer:
    """One training of an encoder; `run` trains it in place.

    Args:
        encoder: freshly built, or of any state that training shall start from.
        windows: the training data.
        loss: see `training.losses`.
        validate: gives the encoder's validation figures, called after each epoch; None: the last epoch is the best.
        config: the loop's own settings.
        optimizer: the optimiser's.
        seed: decides order, dropout and negatives.
        checkpoints: a folder for a checkpoint after each epoch, or None.
        checkpoint_minutes: time after which a checkpoint is written within an epoch too.
        identity: what a checkpoint says it belongs to (recipe, seed, data).
        max_seconds: a budget for `run`. Where the plan does not fit, it is shortened to what fits, schedule included;
            the result then depends on the machine's speed.
        stop_after: an epoch to stop after, though the schedule spans `config.epochs`; None: stop at its end.
        group: the processes that train together.
        report: called after each step and epoch.

    """

    encoder: SessionEncoder
    windows: Windows
    loss: Loss
    validate: Callable[[], dict[str, float]] | None
    config: LoopConfig
    optimizer: OptimizerConfig
    seed: int
    checkpoints: Path | None = None
    checkpoint_minutes: float = CHECKPOINT_MINUTES
    identity: Mapping[str, Any] = field(default_factory=dict)
    max_seconds: float | None = None
    stop_after: int | None = None
    group: Group = ALONE
    report: Callable[[Report], None] = lambda _: None

    def __post_init__(self) -> None:
        targets, epochs = self.windows.targets, self.config.epochs
        self._pace = Pace(epochs * targets, (self.stop_after or epochs) * targets, self.max_seconds)
        self._device = find_device(self.config.device, self.group.local_rank)
        self.encoder.to(self._device)
        self.progress = Progress(processes=self.group.size)
        self._optimizer = make_optimizer(self.optimizer, self.encoder, looks_up=self.loss.looks_up)
        self._best = _copied(self.encoder.state_dict())
        self._random: dict[str, Tensor] = {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, with the weights, the optimiser, the random numbers and the account that it holds.

        Raises:
            CheckpointError: it was written by another number of processes.

        """
        self.progress = msgspec.convert(checkpoint.progress, Progress)
        if self.progress.processes != self.group.size:
            raise CheckpointError(
                f"the checkpoint was written by {self.progress.processes} processes, and this training has "
                f"{self.group.size}: start as many, or start without --resume"
            )
        self.encoder.load_state_dict(_within("encoder/", checkpoint.tensors))
        self._best = {name: tensor.to(self._device) for name, tensor in _within("best/", checkpoint.tensors).items()}
        load_optimizer_tensors(self._optimizer, _within("optimizer/", checkpoint.tensors))
        self._random = _within("random/", checkpoint.tensors)

    def run(self) -> Progress:
        """Train to the end of the plan, the budget or the patience; leave the best weights in the encoder, on the CPU.

        Raises:
            TrainingError: the loss is no number any more.

        """
        within = self.progress.within or Within()
        self._pace.begin(len(self.progress.epochs) * self.windows.targets + within.targets)
        self._saved_at = time.monotonic()
        with deterministic(self.config.threads, self._device):
            self._share = self._pace.share()
            while not self.progress.finished:
                epoch = self._epoch(len(self.progress.epochs) + 1)
                self._conclude(epoch)
        self.encoder.load_state_dict(self._best)
        self.encoder.to("cpu").eval()
        return self.progress

    def _epoch(self, number: int) -> Epoch:
        """Train for one epoch, or what is left of it, or until the time is up, and validate."""
        generator = seeded(self.seed, number, self.group.rank)
        within, self.progress.within = self.progress.within or Within(), None
        batches = epoch_batches(
            self.windows, self.config.batch_targets, generator, self.encoder.time_of, begin=within.batches
        )
        if within.batches:
            torch.set_rng_state(self._random[f"dropout/{self.group.rank}"])
            generator.set_state(self._random["order"])
        self.encoder.train()
        for batch in batches:
            targets = int(batch.mask.sum())
            within.loss += self._step(batch, generator) * targets
            within.batches += 1
            within.targets += targets
            due = self._count(targets)
            self._report(number, within.loss / within.targets)
            if self._share >= 1:
                break
            if due:
                self._check(within.loss, number)
                self._save(msgspec.structs.replace(self.progress, within=within), generator)
        self._check(within.loss, number)
        validation = {} if self.validate is None else self.group.by_first(self.validate)
        return Epoch(number, within.loss / within.targets, validation)

    def _step(self, batch: Batch, generator: torch.Generator) -> float:
        """Return the mean loss of the batch, after following its gradient."""
        mine, count = self.group.share(batch)
        mine, all_targets_T = mine.to(self._device), batch.targets[batch.mask].to(self._device)
        with computing(self._device, self.config.precision):
            vectors_TD = self.encoder(mine.sessions)[mine.mask]
        loss: Tensor = self.loss(
            self.encoder, vectors_TD.float(), mine.targets[mine.mask], generator, batch_targets_T=all_targets_T
        )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        mean = self.group.average(self.encoder.parameters(), loss.item(), count / len(all_targets_T))
        self._optimizer.step(self._share)
        return mean

    def _count(self, targets: int) -> bool:
        """Enter a step into the account; tell whether it is time for a checkpoint."""
        self._pace.advance(targets)
        due = self.checkpoints is not None and time.monotonic() - self._saved_at >= 60 * self.checkpoint_minutes
        shortened = self.max_seconds is not None and self._pace.shortened()
        self._share, told_due, told_shortened = self.group.agreed(self._pace.share(), due, shortened)
        self.progress.shortened |= bool(told_shortened)
        return bool(told_due)

    def _conclude(self, epoch: Epoch) -> None:
        """Enter an epoch into the account, keep its weights if they are the best, and write the checkpoint."""
        progress = self.progress
        best = progress.best()
        progress.epochs.append(epoch)
        monitor = self.config.monitor
        if best is None or self.validate is None or epoch.validation[monitor] > best.validation[monitor]:
            progress.best_epoch = epoch.number
            self._best = _copied(self.encoder.state_dict())
        waited = epoch.number - progress.best_epoch
        progress.finished = self._share >= 1 or waited >= self.config.patience or epoch.number == self.stop_after
        if self.checkpoints is not None:
            self._save(progress)
        self._report(epoch.number, epoch.loss, epoch)

    def _check(self, total: float, number: int) -> None:
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} in epoch {number}: training diverged; lower the learning rate "
                f"(optimizer.learning_rate is {self.optimizer.learning_rate:g})"
            )

    def _report(self, number: int, loss: float, epoch: Epoch | None = None) -> None:
        done, left = (1.0, 0.0) if self.progress.finished else self._pace.report()
        self.report(Report(done, number, loss, left, epoch))

    def _save(self, progress: Progress, generator: torch.Generator | None = None) -> None:
        """Write a checkpoint; with the generator of an epoch that it interrupts."""
        tensors = {f"encoder/{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(self._optimizer).items()}
        if generator is not None:
            states = self.group.gathered(torch.get_rng_state())
            tensors |= {f"random/dropout/{rank}": state for rank, state in enumerate(states)}
            tensors["random/order"] = generator.get_state()
        if self.group.first and self.checkpoints is not None:
            save_checkpoint(self.checkpoints, Checkpoint(self.identity, msgspec.to_builtins(progress), tensors))
        self._saved_at = time.monotonic()


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _within(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
