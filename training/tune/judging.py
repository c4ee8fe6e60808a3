"""What one trial is: a training or a fit by the recipe with other values, and its figure on the validation part."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from serving.errors import WrongUse
from training.account import Report
from training.checkpoint import load_checkpoint
from training.contents import EncoderPart, blend_of, encoder_part, fit_counters
from training.errors import CheckpointError
from training.loop import Trainer
from training.prepared import Prepared
from training.recipes import Recipe, override
from training.train import make_trainer

RUNNING = "running.checkpoint"
BEST = "best.checkpoint"


class Watch(Protocol):
    """Who looks on at a trial, and may end it by raising."""

    def stepped(self, done: float) -> None:
        """See the share done, after each step."""

    def concluded(self, figure: float, *, ended: bool) -> None:
        """See the best figure so far, after each epoch; `ended`: no other follows."""


class Judge(Protocol):
    """Runs the trials of a stage."""

    def figure(self, recipe: Recipe, watch: Watch) -> float:
        """Return the validation figure of a recipe, the higher the better.

        Raises:
            NextclickError: its values do not fit the data or each other, or the training diverged.

        """

    def ended(self, *, best: bool) -> None:
        """Clear up after a trial that will not go on; `best`: no earlier one was as good."""


class EncoderJudge:
    """Trains the recipe's encoder, on its own; its checkpoints stand in the search's directory.

    Args:
        data: the training clicks and the validation cases.
        seed: every training's.
        directory: where checkpoints go: that of the running trial, and that of the best.
        keep: whether the best trial's weights are wanted afterwards.

    """

    def __init__(self, data: Prepared, seed: int, directory: Path, *, keep: bool) -> None:
        self._data, self._seed, self._keep = data, seed, keep
        self._running, self._best = directory / RUNNING, directory / BEST

    def figure(self, recipe: Recipe, watch: Watch) -> float:
        """Train, from the running trial's checkpoint if it is this very training's, and return the best figure.

        The watch sees the epochs in the checkpoint too.
        """
        trainer = self._trainer(recipe)
        monitor, best = recipe.loop.monitor, -1.0

        def report(report: Report) -> None:
            nonlocal best
            if report.epoch is not None:
                best = max(best, report.epoch.validation[monitor])
                watch.concluded(best, ended=trainer.progress.finished)
            watch.stepped(report.done)

        trainer = replace(trainer, checkpoints=self._running, report=report)
        self._go_on(trainer)
        progress = trainer.progress
        for epoch in progress.epochs:
            best = max(best, epoch.validation[monitor])
            watch.concluded(best, ended=progress.finished and epoch.number == len(progress.epochs))
        trainer.run()
        return best

    def ended(self, *, best: bool) -> None:
        """Keep the weights of the best trial, where they are wanted; remove the others."""
        if best and self._keep:
            shutil.rmtree(self._best, ignore_errors=True)
            self._running.rename(self._best)
        else:
            shutil.rmtree(self._running, ignore_errors=True)

    def best_part(self, recipe: Recipe) -> EncoderPart:
        """Return the kept encoder, `recipe` being the one that it was trained by, as a bundle would have it.

        Raises:
            CheckpointError: it is not there any more.

        """
        trainer = self._trainer(recipe)
        trainer.resume(load_checkpoint(self._best, trainer.identity))
        trainer.run()
        return encoder_part(trainer.encoder, recipe, self._data)

    def _trainer(self, recipe: Recipe) -> Trainer:
        if recipe.model is None:
            raise WrongUse(f"recipe {recipe.name} has no encoder to train")
        return make_trainer(recipe, recipe.model, self._data, self._seed)

    def _go_on(self, trainer: Trainer) -> None:
        try:
            trainer.resume(load_checkpoint(self._running, trainer.identity))
        except CheckpointError:
            self.ended(best=False)


class CountersJudge:
    """Fits the recipe's counters, and the blend of them with the best encoder where there is one."""

    def __init__(self, data: Prepared, encoder: EncoderPart | None) -> None:
        self._data, self._encoder = data, encoder

    def figure(self, recipe: Recipe, watch: Watch) -> float:
        """Return the figure that the blend was fitted by."""
        watch.stepped(0.0)
        counters = fit_counters(recipe, self._data)
        watch.stepped(0.5)
        return blend_of(recipe, self._data, self._encoder, counters).figures[counters_monitor(recipe)]

    def ended(self, *, best: bool) -> None:
        """Leave nothing behind."""


def counters_monitor(recipe: Recipe) -> str:
    """Return the name of the figure that a recipe's blend is fitted by."""
    return f"{recipe.blend.monitor}@{recipe.blend.k}"


def monitored(recipe: Recipe, monitor: str | None) -> list[str]:
    """Return the options that make a recipe choose by a figure: its encoder's epochs, and its blend's weights.

    Raises:
        WrongUse: it is no figure of the validation.

    """
    if monitor is None:
        return []
    override(recipe, [f"loop.monitor={monitor}"])
    name, _, k = monitor.partition("@")
    # Lists with one relevant item: what moves the hit rate moves these, and in step.
    blended = name if name in ("mrr", "ndcg") else "hr"
    options = [f"loop.monitor={monitor}"] if recipe.model is not None else []
    return options + ([f"blend.monitor={blended}", f"blend.k={k}"] if recipe.counters else [])
