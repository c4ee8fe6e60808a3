"""A training that a test kills: `python killed.py DATA OUT [--resume]`, slow enough to be hit within an epoch."""

import sys
import time
from pathlib import Path

from training.data.dataset import read_training
from training.data.splits import parse_protocol
from training.loop import LoopConfig, Report
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


def train(data: Path, out: Path, *, resume: bool = False, wait_s: float = 0.0) -> str:
    """Train with a checkpoint after every step, and return the bundle's id."""

    def report(report: Report) -> None:
        print(report.number, flush=True)
        time.sleep(wait_s)

    training = read_training(data, parse_protocol(RECIPE.protocol))
    return train_bundle(RECIPE, training, seed=1, out=out, resume=resume, checkpoint_minutes=0, report=report).bundle.id


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), wait_s=0.05)
