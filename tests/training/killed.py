"""A training that a test kills: `python killed.py DATA OUT` says each step, and waits for a line before the next."""

import sys
from collections.abc import Callable
from pathlib import Path

from training.account import LoopConfig, Report
from training.data.dataset import read_training
from training.data.protocol import parse_protocol
from training.losses import LossConfig
from training.models import SASRecConfig
from training.optimizer import OptimizerConfig
from training.recipes import Recipe
from training.train import train_bundle

RECIPE = Recipe(
    name="killed",
    model=SASRecConfig(dim=8, dropout=0.3, window=10),
    loss=LossConfig(negatives=32),
    optimizer=OptimizerConfig(tables="sparse"),
    loop=LoopConfig(epochs=2, batch_targets=16, threads=1),
    window=10,
)


def train(data: Path, out: Path, *, resume: bool = False, report: Callable[[Report], None] = lambda _: None) -> str:
    """Train with a checkpoint after every step, and return the bundle's id."""
    training = read_training(data, parse_protocol(RECIPE.protocol))
    return train_bundle(RECIPE, training, seed=1, out=out, resume=resume, checkpoint_minutes=0, report=report).bundle.id


def _wait(report: Report) -> None:
    print(report.number, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), report=_wait)
