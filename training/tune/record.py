"""The account of a search, `trials.json`: what was tried and what it gave. A search that goes on begins with it.

It takes its place anew in one rename after every trial, so a process killed at any moment leaves a whole one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from serving.errors import WrongUse
from training.errors import CheckpointError
from training.tune.space import Drawn, Stage

RECORD = "trials.json"
RECORD_FORMAT = 1

# What a search that goes on may differ in: how much is tried, and by which version.
_MAY_DIFFER = frozenset({"command", "code", "trials", "best"})


class Trial(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One trial of a stage."""

    stage: Stage
    number: int
    """From 0; 0 has the recipe's own values."""
    values: dict[str, str]
    """By the keys of `--set`, and as it takes them."""
    drawn: dict[str, Drawn]
    """The same before rounding: what the sampler learns from."""
    state: Literal["complete", "pruned", "failed", "cut"] = "cut"
    """`pruned`: others were better after as many epochs. `failed`: `error` says why. `cut`: the time was up or somebody
    interrupted; if the stage goes on, then with this trial."""
    figure: float | None = None
    """The best validation figure, None before the first."""
    epochs: list[float] = msgspec.field(default_factory=list)
    """The best figure so far after each epoch of an encoder."""
    seconds: float = 0.0
    error: str | None = None

    @property
    def options(self) -> list[str]:
        """The values as `override` takes them."""
        return [f"{key}={value}" for key, value in self.values.items()]


class Best(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The best of a search: its last stage's figure, and the `--set` values of all stages with those of the caller."""

    figure: float
    monitor: str
    set: list[str]


class Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A search, all of it."""

    format: int = RECORD_FORMAT
    command: str
    code: str
    recipe: str
    set: list[str]
    space: dict[str, str]
    parameters: dict[str, Any]
    """The recipe with what is set, before anything is tried."""
    protocol: str
    data: dict[str, Any]
    monitor: dict[Stage, str]
    """The validation figure that decides, by stage."""
    seed: int
    best: Best | None = None
    trials: list[Trial] = msgspec.field(default_factory=list)

    def of(self, stage: Stage) -> list[Trial]:
        """Return the trials of a stage in their order."""
        return [trial for trial in self.trials if trial.stage == stage]

    def best_of(self, stage: Stage) -> Trial | None:
        """Return the complete trial with the best figure, the first of equals; None without any."""
        complete = [trial for trial in self.of(stage) if trial.state == "complete"]
        return max(complete, key=_figure, default=None)

    def ranked(self, stage: Stage) -> list[Trial]:
        """Return a stage's trials, best first: complete ones before those that did not reach the end."""
        return sorted(self.of(stage), key=lambda trial: (trial.state == "complete", _figure(trial)), reverse=True)

    def conclude(self) -> None:
        """Enter the best of every stage that has one, if all of them do."""
        chosen = [self.best_of(stage) for stage in self.monitor]
        found = [trial for trial in chosen if trial is not None]
        if len(found) == len(chosen):
            options = [*self.set, *(option for trial in found for option in trial.options)]
            self.best = Best(figure=_figure(found[-1]), monitor=self.monitor[found[-1].stage], set=options)


def _figure(trial: Trial) -> float:
    return -1.0 if trial.figure is None else trial.figure


def write_record(directory: Path, record: Record) -> None:
    """Write a search's account in place of the last one, whole or not at all.

    Raises:
        WrongUse: the operating system refuses.

    """
    unfinished = directory / f".{RECORD}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, directory / RECORD)
    except OSError as error:
        raise WrongUse(f"{directory} cannot be written ({error.strerror}): name another directory") from error


def read_record(directory: Path) -> Record:
    """Read a search's account.

    Raises:
        CheckpointError: there is none, or it is damaged or of another version.

    """
    path = directory / RECORD
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"there is no search in {directory}: start without --resume") from None
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"{path} is no account of a search ({error}): name another directory") from error
    if record.format != RECORD_FORMAT:
        raise CheckpointError(
            f"{path} has format {record.format}, this version reads format {RECORD_FORMAT}: go on with the version "
            "that wrote it, or name another directory"
        )
    return record


def check_same(directory: Path, there: Record, here: Record) -> None:
    """Refuse to go on with another recipe, space, seed or data.

    Raises:
        CheckpointError: they differ; it names in what.

    """
    if "validation_fingerprint" not in there.data:
        raise CheckpointError(
            f"{directory / RECORD} was written by an earlier version, which did not keep the validation part that "
            "trials were judged by: go on with that version, or name another directory"
        )
    one, other = (msgspec.json.decode(msgspec.json.encode(record)) for record in (there, here))
    for key in sorted(one.keys() - _MAY_DIFFER):
        if one[key] != other[key]:
            differing = _first_difference(key, one[key], other[key])
            raise CheckpointError(
                f"{directory / RECORD} is the account of another search: {differing}; use the same recipe, options, "
                "seed and data, or name another directory"
            )


def _first_difference(key: str, there: Any, here: Any) -> str:
    if isinstance(there, dict) and isinstance(here, dict):
        names: Sequence[str] = sorted(there.keys() | here.keys())
        name = next(name for name in names if there.get(name) != here.get(name))
        return _first_difference(f"{key}.{name}", there.get(name), here.get(name))
    return f"its {key} is {there!r}, this one's {here!r}"
