"""The loss curve of a training, as a PNG."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.account import Progress


def write_curve(path: Path, progress: Progress, monitor: str) -> None:
    """Draw the training loss over the epochs, and the monitored validation figure where there is one.

    The epoch that was kept is marked.

    The canvas is made by hand: pyplot would look for a display and keep the figure for ever.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    numbers = [epoch.number for epoch in progress.epochs]
    loss = figure.add_subplot(xlabel="epoch", ylabel="training loss")
    loss.plot(numbers, [epoch.loss for epoch in progress.epochs], marker="o", color="tab:blue")
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.axvline(progress.best_epoch, color="tab:gray", linestyle=":")
    validated = all(epoch.validation for epoch in progress.epochs)
    if validated:
        figures = loss.twinx()
        figures.set_ylabel(f"validation {monitor}")
        figures.plot(numbers, [epoch.validation[monitor] for epoch in progress.epochs], marker="s", color="tab:orange")
    shown = f"loss (blue), {monitor} (orange)" if validated else "loss"
    loss.set_title(f"{shown}; epoch {progress.best_epoch} was kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": "nextclick"})
