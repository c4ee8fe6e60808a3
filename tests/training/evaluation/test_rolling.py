from pathlib import Path

import numpy as np
import polars as pl

from serving.catalogue import Catalogue
from serving.ranks import figure
from training.counters import MARKOV, fit_sequential_rules
from training.data.cuts import DAY_MS
from training.data.log import make_log
from training.data.protocol import parse_protocol
from training.data.sequences import popularity, to_sequences
from training.data.splits import Training
from training.data.writers import write_log
from training.evaluation.case_ranks import CaseRanks, pool
from training.evaluation.rolling import rank_cycles
from training.evaluation.scorers import CounterScorer, Scorer
from training.evaluation.terms import Terms


def write_days(path: Path, days: dict[int, list[str]]) -> Path:
    """Sessions of two clicks by the day: "xy" is a click on x, then one on y."""
    rows = [
        (f"s{day}-{place}", item, day * DAY_MS + 1000 * place + second)
        for day, sessions in days.items()
        for place, session in enumerate(sessions)
        for second, item in enumerate(session)
    ]
    write_log(make_log(pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp_ms"], orient="row")), path)
    return path


def run(path: Path, terms: Terms) -> tuple[dict[str, CaseRanks], list[int]]:
    seen: list[int] = []

    def fit(training: Training, catalogue: Catalogue) -> Scorer:
        seen.append(len(training.clicks))
        sequences, items = to_sequences(training.clicks.frame, catalogue), len(catalogue)
        markov = fit_sequential_rules(sequences, items, MARKOV)
        return CounterScorer("markov", markov, popularity(sequences, items))

    return {str(one): found for one, found in rank_cycles(fit, path, terms)}, seen


def test_each_day_is_predicted_from_the_days_before_by_hand(tmp_path: Path) -> None:
    # Day 1: a is followed by b. Day 2 follows that once, and breaks it twice. Day 3 knows what day 2 showed.
    path = write_days(tmp_path / "days.csv", {1: ["ab", "cd"], 2: ["ab", "ac", "ac"], 3: ["ac", "ab", "ae"]})
    found, seen = run(path, Terms(protocol=parse_protocol("rolling-days:2"), through="dense"))
    assert list(found) == ["rolling-days:2/1", "rolling-days:2/2"]
    assert seen == [4, 10]
    # b was counted after a; among the rest popularity decides, a itself being left out: c and d tie, the worst counts.
    assert found["rolling-days:2/1"].ranks.tolist() == [1, 3, 3]
    # After a: b twice, c twice, c and b are clicked three and two times; e is unknown.
    assert found["rolling-days:2/2"].ranks.tolist() == [1, 2, 0]
    together = pool(list(found.values()))
    assert figure(together.ranks, "recall", 1) == 2 / 6
    assert len(set(together.clusters().tolist())) == 6


def test_items_never_seen_so_far_are_dropped_under_aders_terms(tmp_path: Path) -> None:
    weeks = {1: ["ab", "cd"], 8: ["ab", "ea", "bec"], 15: ["ea", "zz", "zzz"]}
    found, _ = run(write_days(tmp_path / "weeks.csv", weeks), Terms(protocol=parse_protocol("ader:2"), through="dense"))
    first, second = found.values()
    # Week 2 without e: "ab", "bc"; "ea" has one click left. Week 3 knows e, but not z.
    assert first.frame.select("item_id").to_series().to_list() == ["b", "c"]
    assert second.frame.select("item_id").to_series().to_list() == ["a"]
    assert np.isin(first.ranks, [1, 2, 3, 4]).all()
