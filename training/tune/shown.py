"""A search in a terminal: a bar with the time left and a line for each trial, and at the end the best of them."""

import shlex
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from training.progress import time_left
from training.tune.record import Record, Trial
from training.tune.stage import Seen

SHOWN = 10
"""Trials in a table."""


@contextmanager
def shown_search(console: Console) -> Iterator[Callable[[Seen], None]]:
    """Give the callback for `search`; the bar is there only while the context is, and only on a terminal."""
    columns = (TextColumn("searching"), BarColumn(), TextColumn("{task.percentage:>3.0f} %  {task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def seen(seen: Seen) -> None:
            best = "" if seen.best is None else f", best {seen.best:.4f}"
            place = f"{seen.stage} {seen.number + 1}/{seen.trials}"
            bar.update(task, completed=seen.done, description=f"{place}{best}  {time_left(seen.eta_s)}")
            if seen.trial is not None:
                line = f"{place}: trial {seen.number} {_ended(seen.trial)}{best}"
                console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield seen


def print_record(record: Record, console: Console) -> None:
    """Print the best trials of each stage, and the options of the best."""
    for stage, monitor in record.monitor.items():
        trials = record.of(stage)
        table = Table(box=None, padding=(0, 1, 0, 0))
        for heading in ("trial", monitor, "epochs", "seconds"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("values")
        for trial in record.ranked(stage)[:SHOWN]:
            figure = "" if trial.figure is None else f"{trial.figure:.4f}"
            numbers = (str(trial.number), figure, str(len(trial.epochs) or ""), f"{trial.seconds:.1f}")
            table.add_row(*numbers, trial.state, _values(trial, record.space) or "the recipe's own")
        console.print(f"{stage}, {len(trials)} trials, validation part", highlight=False)
        console.print(table)


def options_line(record: Record) -> str:
    """Return the best as options of `nextclick train`, for a shell; empty before there is one."""
    if record.best is None:
        return ""
    return shlex.join([word for option in record.best.set for word in ("--set", option)])


def _values(trial: Trial, keys: Collection[str]) -> str:
    """Return the values of a trial, each by the last word of its key where no other key has it."""
    ends = [key.rpartition(".")[2] for key in keys]
    short = {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}
    return " ".join(f"{short[key]}={value}" for key, value in trial.values.items())


def _ended(trial: Trial) -> str:
    after = f" after epoch {len(trial.epochs)}" if trial.epochs else ""
    match trial.state:
        case "failed":
            return f"failed: {trial.error}"
        case "complete":
            return f"{trial.figure:.4f}"
        case "pruned":
            return f"pruned{after} with {trial.figure:.4f}"
        case "cut":
            return f"cut short{after}"
