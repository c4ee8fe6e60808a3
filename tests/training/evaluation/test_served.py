import numpy as np
import polars as pl
import pytest

from serving.bundle import Bundle
from serving.control import Control
from serving.process import Hit, Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState
from serving.settings import Exclude, ServingSettings
from tests.tiny_bundle import write_tiny_bundle
from training.data.clean import sessionise
from training.data.log import ClickLog, make_log
from training.data.splits import HeldOut, leave_one_out, whole
from training.evaluation.cases import build_cases
from training.evaluation.dense import evaluate_dense
from training.evaluation.served import BundleScorer, evaluate_served

K = 10
GAP_MS = 1800 * 1000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def log() -> ClickLog:
    """Interleaved sessions, longer than the bundle's window of 6, with silences and unknown items."""
    random = np.random.default_rng(0)
    steps = random.choice([1000, 60_000, 2 * GAP_MS], 600, p=[0.6, 0.38, 0.02])
    frame = pl.DataFrame(
        {
            "session_id": [f"s{n}" for n in random.integers(0, 25, 600)],
            "item_id": [f"i{n}" for n in random.integers(1, 55, 600)],
            "timestamp_ms": 1_600_000_000_000 + np.cumsum(steps),
        }
    )
    return make_log(frame)


def live(bundle: Bundle, log: ClickLog, exclude: Exclude) -> list[Hit]:
    """What a worker counts on the uncut clicks, one click a batch."""
    recommender = Recommender(bundle, ServingSettings(exclude=exclude, list_size=K))
    hits: list[Hit] = []
    states: dict[str, SessionState] = {}
    for offset, click in enumerate(log.clicks()):
        processed = process(states, [Sourced(click, offset, click.timestamp_ms)], recommender, Control())
        states.update(processed.states)
        hits += processed.hits
    return hits


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
def test_served_ranks_are_those_that_a_worker_counts_on_the_same_clicks(
    bundle: Bundle, log: ClickLog, exclude: Exclude
) -> None:
    cut = sessionise(log, GAP_MS)
    assert cut.sessions > log.sessions
    found = evaluate_served(bundle, whole(cut), exclude=exclude, k=K)
    assert found.ranks.tolist() == [hit.rank for hit in live(bundle, log, exclude)]
    assert found.ranks.any()


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
def test_served_and_dense_figures_agree(bundle: Bundle, log: ClickLog, exclude: Exclude) -> None:
    held_out = whole(sessionise(log, GAP_MS))
    served = evaluate_served(bundle, held_out, exclude=exclude, k=K)
    cases = build_cases(held_out, bundle.catalogue)
    scored = evaluate_dense(BundleScorer(bundle), cases, len(bundle.catalogue), exclude=exclude, k=K)
    assert served.ranks.tolist() == np.where(scored.ranks <= K, scored.ranks, 0).tolist()
    assert served.top.tolist() == scored.top.tolist()


def test_only_the_clicks_that_a_protocol_names_are_counted(bundle: Bundle, log: ClickLog) -> None:
    held_out = leave_one_out(log).held_out
    found = evaluate_served(bundle, held_out, exclude="current", k=K)
    everything = evaluate_served(
        bundle, HeldOut(held_out.log, np.ones(len(held_out.log), np.bool_)), exclude="current", k=K
    )
    first = held_out.log.frame["session_id"].is_first_distinct().to_numpy()
    assert found.ranks.tolist() == everything.ranks[held_out.targets[~first]].tolist()
    assert len(found.ranks) == held_out.cases == len(found.top)


def test_a_session_of_unknown_items_gets_popularity_in_both_ways(bundle: Bundle) -> None:
    frame = pl.DataFrame({"session_id": ["s", "s"], "item_id": ["nowhere", "i3"], "timestamp_ms": [0, 1]})
    held_out = whole(make_log(frame))
    cases = build_cases(held_out, bundle.catalogue)
    # The tiny bundle's items are the more popular the smaller their number.
    assert evaluate_served(bundle, held_out, exclude="current", k=K).ranks.tolist() == [3]
    scored = evaluate_dense(BundleScorer(bundle), cases, len(bundle.catalogue), exclude="current", k=K)
    assert scored.ranks.tolist() == [3]
