"""What the demo runs on: the clicks to learn from, the clicks to replay, and what its rivals would have shown."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.demo.scoreboard import K
from serving.settings import Exclude
from training.counters import fit_popularity, fit_sequential_rules
from training.data.clean import Preparation
from training.data.cuts import HeldOut
from training.data.dataset import read_test, read_training
from training.data.generator import generate
from training.data.protocol import Protocol
from training.data.readers import ReadOptions
from training.data.sequences import build_catalogue, popularity, to_sequences
from training.data.splits import Training, split
from training.evaluation.cases import build_cases
from training.evaluation.dense import evaluate_dense
from training.evaluation.scorers import CounterScorer, Scorer

SHOP_SESSIONS = 18_000
SHOP_ITEMS = 1_000


@dataclass(frozen=True)
class DemoData:
    """`training` is all that the trainer sees; `replay` comes after it (or from the test file), in time order.

    `session_gap_s` is the gap that cut these sessions, None where nothing did.
    """

    training: Training
    replay: HeldOut
    session_gap_s: float | None


def read_data(
    data: Path | None, protocol: Protocol, preparation: Preparation, options: ReadOptions, *, events: int, seed: int
) -> DemoData:
    """Read a click log, or generate a shop's; keep the first `events` of the held-out clicks for the replay."""
    if data is not None:
        training = read_training(data, protocol, preparation, options)
        held_out = read_test(data, protocol, preparation, options)
    else:
        parts = split(generate(SHOP_SESSIONS, SHOP_ITEMS, seed), protocol)
        inner = split(parts.before, protocol)
        training, held_out = Training(inner.before, inner.held_out), parts.held_out
    log = held_out.log
    replay = HeldOut(log.with_frame(log.frame.head(events)), held_out.targets[:events])
    gap_ms = preparation.gap_ms(log)
    return DemoData(training, replay, None if gap_ms is None else gap_ms / 1000)


def rivals(data: DemoData, exclude: Exclude) -> dict[str, frozenset[str]]:
    """Return, for each rival, the event ids of the replayed clicks that its list before the click would have held.

    The rivals learn from the very clicks that the encoder learns from, and leave out what the worker leaves out.
    """
    frame = data.training.clicks.frame
    catalogue = build_catalogue(frame)
    sequences, items = to_sequences(frame, catalogue), len(catalogue)
    counts = popularity(sequences, items)
    cases = build_cases(data.replay, catalogue)
    frame_ids = [click.event_id for click in data.replay.log.clicks()]
    event_ids = np.array(frame_ids)[~data.replay.log.frame.get_column("session_id").is_first_distinct().to_numpy()]
    scorers: dict[str, Scorer] = {
        "popular": CounterScorer("popularity", fit_popularity(sequences, items), counts),
        "sr": CounterScorer("sequential rules", fit_sequential_rules(sequences, items), counts),
    }
    hits = {}
    for name, scorer in scorers.items():
        ranks = evaluate_dense(scorer, cases, items, exclude=exclude).ranks
        hits[name] = frozenset(event_ids[(ranks >= 1) & (ranks <= K)].tolist())
    return hits
