"""What the demo runs on: the clicks to learn from, the clicks to replay, and what its rivals would have shown."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.demo.scoreboard import K
from serving.settings import Exclude
from training.data.clean import Preparation
from training.data.dataset import read_test, read_training
from training.data.generator import generate
from training.data.readers import ReadOptions
from training.data.sequences import build_vocabulary, to_sequences
from training.data.splits import HeldOut, Protocol, Training, split
from training.evaluation.baselines import Popularity, Scorer, SequentialRules
from training.evaluation.cases import build_cases
from training.evaluation.dense import evaluate_dense

SHOP_SESSIONS = 20_000
SHOP_ITEMS = 2_000
PROTOCOL = Protocol("next-item")


@dataclass(frozen=True)
class DemoData:
    """`training` is all that the trainer sees; `replay` comes after it (or from the test file), in time order."""

    training: Training
    replay: HeldOut


def read_data(data: Path | None, options: ReadOptions, events: int, seed: int) -> DemoData:
    """Read a click log, or generate a shop's; keep the first `events` of the held-out clicks for the replay."""
    if data is not None:
        training, held_out = read_training(data, PROTOCOL, options=options), read_test(data, PROTOCOL, options=options)
    else:
        parts = split(generate(SHOP_SESSIONS, SHOP_ITEMS, seed), PROTOCOL)
        inner = split(parts.before, PROTOCOL)
        training, held_out = Training(inner.before, inner.held_out), parts.held_out
    log = held_out.log
    return DemoData(training, HeldOut(log.with_frame(log.frame.head(events)), held_out.targets[:events]))


def session_gap_s(data: DemoData) -> float | None:
    """Return the session gap that these clicks were cut by, in seconds; None where nothing cuts them."""
    gap_ms = Preparation().gap_ms(data.replay.log)
    return None if gap_ms is None else gap_ms / 1000


def rivals(data: DemoData, exclude: Exclude) -> dict[str, frozenset[str]]:
    """Return, for each rival, the event ids of the replayed clicks that its list before the click would have held.

    The rivals learn from the very clicks that the encoder learns from, and leave out what the worker leaves out.
    """
    frame = data.training.clicks.frame
    vocabulary = build_vocabulary(frame)
    sequences, items = to_sequences(frame, vocabulary), len(vocabulary)
    cases = build_cases(data.replay, vocabulary)
    frame_ids = [click.event_id for click in data.replay.log.clicks()]
    event_ids = np.array(frame_ids)[~data.replay.log.frame.get_column("session_id").is_first_distinct().to_numpy()]
    scorers: dict[str, Scorer] = {
        "popular": Popularity(sequences, items),
        "sr": SequentialRules(sequences, items),
    }
    hits = {}
    for name, scorer in scorers.items():
        ranks = evaluate_dense(scorer, cases, items, exclude=exclude, k=K).ranks
        hits[name] = frozenset(event_ids[(ranks >= 1) & (ranks <= K)].tolist())
    return hits
