"""Showing a training in a terminal: a bar with the time left, a line for each epoch; plain lines elsewhere."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from training.account import Report


@contextmanager
def shown_progress(console: Console, monitor: str) -> Iterator[Callable[[Report], None]]:
    """Give the callback for `train_bundle`; the bar is there only while the context is, and only on a terminal."""
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.percentage:>3.0f} %  {task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def report(report: Report) -> None:
            bar.update(task, completed=report.done, description=f"loss {report.loss:.3f}  {time_left(report.eta_s)}")
            if report.epoch is not None:
                figures = report.epoch.validation
                validated = f", validation {monitor} {figures[monitor]:.4f}" if figures else ""
                console.print(f"epoch {report.number}: loss {report.loss:.4f}{validated}")

        yield report


def time_left(seconds: float) -> str:
    """Return "1:15 left", or nothing where nobody knows."""
    if not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left"
