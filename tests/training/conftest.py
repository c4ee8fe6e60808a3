"""Fixtures of the training tests: small logs, a small recipe, and its bundle."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from training.account import LoopConfig
from training.data.generator import generate
from training.data.protocol import parse_protocol
from training.data.sequences import Events, Rows
from training.data.splits import Training, split
from training.evaluation.cases import Context
from training.losses import LossConfig
from training.models import GRUConfig
from training.recipes import Recipe
from training.train import Trained, train_bundle

Session = Sequence[int] | Rows


def as_rows(sessions: Iterable[Session]) -> list[Rows]:
    return [np.array(session, dtype=np.int64) for session in sessions]


def as_events(sessions: Iterable[Session]) -> list[Events]:
    """Sessions of items, with an event of the first type each minute."""
    return [Events(rows, np.ones_like(rows), 60_000 * np.arange(len(rows))) for rows in as_rows(sessions)]


def as_contexts(sessions: Iterable[Session]) -> list[Context]:
    """What is predicted from: the sessions, asked a minute after their last event."""
    return [Context(events, 60_000 * len(events)) for events in as_events(sessions)]


@pytest.fixture(scope="session")
def small_training() -> Training:
    """A generated shop of 400 sessions on 100 items, split as recipes split."""
    outer = split(generate(400, 100, 0), parse_protocol("next-item"))
    inner = split(outer.before, parse_protocol("next-item"))
    return Training(inner.before, inner.held_out)


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    return Recipe(
        name="small",
        model=GRUConfig(dim=16, hidden=16, dropout=0.1),
        loss=LossConfig(negatives=32),
        loop=LoopConfig(epochs=3, batch_targets=128, threads=1),
        window=10,
    )


@pytest.fixture(scope="session")
def trained(small_recipe: Recipe, small_training: Training, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small recipe's bundle of seed 0, which nobody may change."""
    return train_bundle(small_recipe, small_training, seed=0, out=tmp_path_factory.mktemp("trained") / "bundle")
