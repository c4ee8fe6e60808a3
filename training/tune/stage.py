"""The trials of one stage, one after the other, each entered into the account when it ends."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna

from serving.errors import NextclickError
from training.recipes import Recipe, override
from training.tune.judging import Judge
from training.tune.record import Record, Trial, write_record
from training.tune.sampling import Study
from training.tune.space import Space, Stage, drawn_text


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a caller may show: after each step of a trial, and (with `trial`) after each trial.

    `done` is the share of the stage, 0 to 1; `best` the figure of its best trial so far.
    """

    stage: Stage
    number: int
    trials: int
    done: float
    eta_s: float
    best: float | None = None
    trial: Trial | None = None


class _Pruned(Exception):
    """Others were better."""


class _TimeIsUp(Exception):
    """The stage's part of the time is over."""


@dataclass(kw_only=True)
class StageRun:
    """One stage of a search; `run` tries what is left of it.

    Args:
        name: the stage.
        trials: how many it has, those of earlier processes included.
        space: what is tried.
        recipe: what the values are set in.
        seed: the search's.
        judge: gives a recipe's figure.
        record: the account, with what earlier processes tried; each trial is entered.
        out: where the account is written to.
        until: when the stage ends at the latest, on the monotonic clock.
        seen: called after each step and trial.

    """

    name: Stage
    trials: int
    space: Space
    recipe: Recipe
    seed: int
    judge: Judge
    record: Record
    out: Path
    until: float
    seen: Callable[[Seen], None]

    def run(self) -> None:
        """Try until there are enough trials or the time is up; one that was cut goes on first."""
        self._study = Study(self.name, self.seed, self.recipe.loop.epochs)
        self._cut_seconds = self._without_cut()
        for trial in self.record.of(self.name):
            self._repeat(trial)
        self._began, self._first = time.monotonic(), len(self.record.of(self.name))
        for number in range(self._first, self.trials):
            if time.monotonic() >= self.until:
                break
            self._try(number)

    def _without_cut(self) -> float:
        """Take the trial that was cut out of the account, and return its seconds."""
        done = self.record.of(self.name)
        if not done or done[-1].state != "cut":
            return 0.0
        self.record.trials.remove(done[-1])
        return done[-1].seconds

    def _repeat(self, trial: Trial) -> None:
        """Tell the study what an earlier process tried."""
        asked = self._study.ask(trial.number, trial.drawn)
        self.space.draw(asked, self.recipe, self.name)
        for epoch, figure in enumerate(trial.epochs, start=1):
            self._study.worth_its_end(asked, epoch, figure)
        self._study.tell(asked, trial)

    def _try(self, number: int) -> None:
        asked = self._study.ask(number, {} if number else self.space.own(self.recipe, self.name))
        drawn = self.space.draw(asked, self.recipe, self.name)
        values = {key: drawn_text(value) for key, value in drawn.items()}
        trial = Trial(stage=self.name, number=number, values=values, drawn=drawn)
        began, self._cut_seconds = time.monotonic() - self._cut_seconds, 0.0
        try:
            self._judge(trial, asked)
        finally:  # after a KeyboardInterrupt too: then it stays cut
            trial.seconds = time.monotonic() - began
            self._enter(trial, asked)

    def _judge(self, trial: Trial, asked: optuna.Trial) -> None:
        try:
            recipe = override(self.recipe, trial.options)
            trial.figure = self.judge.figure(recipe, _Watch(self, trial, asked))
            trial.state = "complete"
        except _Pruned:
            trial.state = "pruned"
        except NextclickError as error:
            trial.state, trial.figure, trial.error = "failed", None, str(error)
        except _TimeIsUp:
            pass

    def _enter(self, trial: Trial, asked: optuna.Trial) -> None:
        self.record.trials.append(trial)
        if trial.state != "cut":
            self._study.tell(asked, trial)
            self.judge.ended(best=self.record.best_of(self.name) is trial)
        self.record.conclude()
        write_record(self.out, self.record)
        self._show(trial, 1.0, ended=True)

    def _concluded(self, trial: Trial, asked: optuna.Trial, figure: float, ended: bool) -> None:
        trial.epochs.append(figure)
        trial.figure = figure
        # The study is told of the last epoch too: later trials are compared with it.
        if not self._study.worth_its_end(asked, len(trial.epochs), figure) and not ended:
            raise _Pruned

    def _stepped(self, trial: Trial, done: float) -> None:
        if time.monotonic() >= self.until:
            raise _TimeIsUp
        self._show(trial, done)

    def _show(self, trial: Trial, done: float, *, ended: bool = False) -> None:
        now, here = time.monotonic(), trial.number + done - self._first
        left = self.trials - trial.number - done
        eta_s = min((now - self._began) / here * left, self.until - now) if here > 0 else math.inf
        best = self.record.best_of(self.name)
        self.seen(
            Seen(
                stage=self.name,
                number=trial.number,
                trials=self.trials,
                done=(trial.number + done) / self.trials,
                eta_s=eta_s,
                best=None if best is None else best.figure,
                trial=trial if ended else None,
            )
        )


@dataclass(frozen=True)
class _Watch:
    """The eyes of a stage on one of its trials."""

    stage: StageRun
    trial: Trial
    asked: optuna.Trial

    def stepped(self, done: float) -> None:
        """End the trial when the time is up."""
        self.stage._stepped(self.trial, done)

    def concluded(self, figure: float, *, ended: bool) -> None:
        """End the trial where others were better after as many epochs, and some are left."""
        self.stage._concluded(self.trial, self.asked, figure, ended)
