import dataclasses
from typing import Any

import numpy as np
import polars as pl
import pytest

from serving.bundle import BlendSpec, Bundle, write_bundle
from serving.control import Control
from serving.counters import Counter, ItemRules, ItemRulesParameters, Popularity, PopularityParameters
from serving.process import Hit, Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState
from serving.settings import Exclude, ServingSettings
from tests.tiny_bundle import tiny_blend_contents, tiny_contents, write_tiny_bundle
from training.data.clean import sessionise
from training.data.cuts import HeldOut, leave_one_out, whole
from training.data.log import ClickLog, make_log
from training.evaluation import served
from training.evaluation.cases import Cases, Context, build_cases
from training.evaluation.dense import evaluate_dense
from training.evaluation.served import BundleScorer, evaluate_served

K = 10
GAP_MS = 1800 * 1000
EVERYTHING: dict[str, Any] = {"event_types": ["view", "buy"], "silences": True}
WINDOW: dict[str, Any] = {"form": "window"}
ENCODERS: dict[str, dict[str, Any]] = {
    "step": {},
    "step, types and silences": EVERYTHING,
    "window": WINDOW,
    "window, types, silences and ages": WINDOW | EVERYTHING | {"time_of": "last"},
}
BLENDS = {
    "blend": tiny_blend_contents(),
    "blend, window form": tiny_blend_contents(tiny_contents(**WINDOW, **EVERYTHING, time_of="last")),
    "counters alone": tiny_blend_contents(encoder=False),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module", params=ENCODERS)
def encoder_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", **ENCODERS[request.param])


@pytest.fixture(scope="module", params=[*ENCODERS, *BLENDS])
def any_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    name = request.param
    contents = BLENDS[name] if name in BLENDS else tiny_contents(**ENCODERS[name])
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", contents)


@pytest.fixture(scope="module")
def log() -> ClickLog:
    """Interleaved sessions, longer than the windows of 6 and 20, with silences, unknown items and unknown types."""
    random = np.random.default_rng(0)
    steps = random.choice([1000, 60_000, 2 * GAP_MS], 600, p=[0.6, 0.395, 0.005])
    frame = pl.DataFrame(
        {
            "session_id": [f"s{n}" for n in random.integers(0, 6, 600)],
            "item_id": [f"i{n}" for n in random.integers(1, 55, 600)],
            "timestamp_ms": 1_600_000_000_000 + np.cumsum(steps),
            "event_type": random.choice(["view", "buy", "like"], 600),
        }
    )
    return make_log(frame)


def cases_of(held_out: HeldOut, bundle: Bundle) -> Cases:
    spec = bundle.manifest.encoder
    return build_cases(held_out, bundle.catalogue, spec.event_types if spec else ())


def live(bundle: Bundle, log: ClickLog, exclude: Exclude, batch: int) -> tuple[list[Hit], list[list[int]]]:
    """What a worker counts on the uncut clicks in batches of this size, and the list that it gives after each click."""
    recommender = Recommender(bundle, ServingSettings(exclude=exclude, list_size=K))
    hits: list[Hit] = []
    lists: list[list[int]] = []
    states: dict[str, SessionState] = {}
    clicks = [Sourced(click, offset, click.timestamp_ms) for offset, click in enumerate(log.clicks())]
    for begin in range(0, len(clicks), batch):
        processed = process(states, clicks[begin : begin + batch], recommender, Control())
        states.update(processed.states)
        hits += processed.hits
        for shown in processed.lists:
            lists.append([bundle.catalogue.row(item.item_id) for item in shown.recommendation.items])
    return hits, lists


@pytest.mark.parametrize(("exclude", "batch"), [("none", 50), ("current", 1), ("seen", 7)])
def test_served_ranks_and_lists_are_those_that_a_worker_gives_live_on_the_same_clicks(
    any_bundle: Bundle, log: ClickLog, exclude: Exclude, batch: int
) -> None:
    cut = sessionise(log, GAP_MS)
    assert cut.sessions > log.sessions
    cases = cases_of(whole(cut), any_bundle)
    assert max(map(len, cases.sequences)) > any_bundle.window
    found = evaluate_served(any_bundle, cases, exclude=exclude, k=K)
    hits, lists = live(any_bundle, log, exclude, batch)
    assert found.ranks.tolist() == [hit.rank for hit in hits]
    assert found.ranks.any()
    # The list that stands when a click comes is the one that answered the session's click before it.
    before = cut.frame.with_row_index().select(pl.col("index").shift(1).over("session_id")).to_series()
    shown = [lists[before[click]] for click in cases.click.tolist()]
    assert found.top.tolist() == [rows + [0] * (K - len(rows)) for rows in shown]


def rules_of_item_1(*rows: int) -> ItemRules:
    items = len(tiny_contents().item_ids)
    begin = np.array([0, 0, *[len(rows)] * items])
    votes = np.full(len(rows), 0.25, np.float32)
    return ItemRules(ItemRulesParameters(window=20, decay=0.8), begin, np.array(rows), votes)


@pytest.mark.parametrize(
    ("counter", "first", "before"),
    [
        (rules_of_item_1(2, 3, 4, 5), "i1", 0),
        (Popularity(PopularityParameters(), np.arange(2, 6), np.full(4, 0.25, np.float32)), "i1", 0),
        (rules_of_item_1(2, 3, 4, 5), "unknown", 0),  # finds nothing: the list is what is popular
        (rules_of_item_1(6), "i1", 1),  # finds one item, behind which is what is popular
    ],
)
@pytest.mark.parametrize(("k", "rank"), [(2, 0), (3, 0), (4, 4), (5, 4)])
def test_ties_count_against_the_model_in_the_list_and_behind_its_end(
    tmp_path_factory: pytest.TempPathFactory, counter: Counter, first: str, before: int, k: int, rank: int
) -> None:
    """Items 2 to 5 are all one to the bundle, and a list shows the first of them by row."""
    contents = tiny_blend_contents(encoder=False)
    popularity = np.array([0, 1, 9, 9, 9, 9, *[1] * (len(contents.item_ids) - 5)], np.float32)
    blend = BlendSpec(encoder=0.0, counters=[1.0], floors=[1e-3], candidates=500)
    contents = dataclasses.replace(contents, counters=(counter,), blend=blend, popularity=popularity)
    bundle = write_bundle(tmp_path_factory.mktemp("bundles") / "ties", contents)
    for clicked in ("i2", "i4", "i5"):
        frame = pl.DataFrame({"session_id": ["s", "s"], "item_id": [first, clicked], "timestamp_ms": [0, 1]})
        found = evaluate_served(bundle, cases_of(whole(make_log(frame)), bundle), exclude="current", k=k + before)
        assert found.ranks.tolist() == [rank + before if rank else 0]


def test_results_do_not_depend_on_the_batch(any_bundle: Bundle, log: ClickLog, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of(whole(sessionise(log, GAP_MS)), any_bundle)
    together = evaluate_served(any_bundle, cases, exclude="current", k=K)
    monkeypatch.setattr(served, "_BATCH", 7)
    apart = evaluate_served(any_bundle, cases, exclude="current", k=K)
    assert together.ranks.tolist() == apart.ranks.tolist()
    assert together.top.tolist() == apart.top.tolist()


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
def test_served_and_dense_figures_of_an_encoder_agree(encoder_bundle: Bundle, log: ClickLog, exclude: Exclude) -> None:
    bundle = encoder_bundle
    cases = cases_of(whole(sessionise(log, GAP_MS)), bundle)
    shown = evaluate_served(bundle, cases, exclude=exclude, k=K)
    scored = evaluate_dense(BundleScorer(bundle), cases, len(bundle.catalogue), exclude=exclude, k=K)
    assert shown.ranks.tolist() == np.where(scored.ranks <= K, scored.ranks, 0).tolist()
    assert shown.top.tolist() == scored.top.tolist()


def test_only_the_clicks_that_a_protocol_names_are_counted(bundle: Bundle, log: ClickLog) -> None:
    held_out = leave_one_out(log).held_out
    every = HeldOut(held_out.log, np.ones(len(held_out.log), np.bool_))
    found = evaluate_served(bundle, cases_of(held_out, bundle), exclude="current", k=K)
    everything = evaluate_served(bundle, cases_of(every, bundle), exclude="current", k=K)
    first = held_out.log.frame["session_id"].is_first_distinct().to_numpy()
    assert found.ranks.tolist() == everything.ranks[held_out.targets[~first]].tolist()
    assert len(found.ranks) == held_out.cases == len(found.top)


def test_a_session_of_unknown_items_gets_popularity_in_both_ways(bundle: Bundle) -> None:
    frame = pl.DataFrame({"session_id": ["s", "s"], "item_id": ["nowhere", "i3"], "timestamp_ms": [0, 1]})
    cases = cases_of(whole(make_log(frame)), bundle)
    # The tiny bundle's items are the more popular the smaller their number.
    assert evaluate_served(bundle, cases, exclude="current", k=K).ranks.tolist() == [3]
    scored = evaluate_dense(BundleScorer(bundle), cases, len(bundle.catalogue), exclude="current", k=K)
    assert scored.ranks.tolist() == [3]


def test_an_encoder_that_asks_for_the_querys_time_is_told_when_the_click_came(
    tmp_path_factory: pytest.TempPathFactory, log: ClickLog
) -> None:
    home = tmp_path_factory.mktemp("bundles")
    asks, other = (write_tiny_bundle(home / way, form="window", time_of=way) for way in ("query", "last"))
    (context,) = cases_of(whole(log), asks).contexts(300, 301)
    assert context.asked_ms > context.events.times[-1]
    late = Context(context.events, context.asked_ms + 24 * 3_600_000)
    of_asks, of_other = (BundleScorer(bundle).scores([context, late]) for bundle in (asks, other))
    assert not np.allclose(of_asks[0], of_asks[1])
    assert of_other[0].tobytes() == of_other[1].tobytes()
