import io
import math

from rich.console import Console

from training.account import Epoch, Report
from training.progress import shown_progress


def _shown(console: Console) -> None:
    with shown_progress(console, "ndcg@20") as report:
        report(Report(0.25, 1, 3.5, math.inf))
        report(Report(0.5, 1, 3.25, 75.4, Epoch(1, 3.25, {"ndcg@20": 0.125})))


def test_a_file_gets_a_line_for_each_epoch_and_nothing_else() -> None:
    file = io.StringIO()
    _shown(Console(file=file))
    assert file.getvalue() == "epoch 1: loss 3.2500, validation ndcg@20 0.1250\n"


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    file = io.StringIO()
    _shown(Console(file=file, force_terminal=True, width=100, color_system=None))
    assert "50 %  loss 3.250  1:15 left" in file.getvalue()
