import dataclasses
import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle import BlendSpec, Bundle, load_bundle, write_bundle
from serving.catalogue import Catalogue
from serving.counters import Counter, ItemRules, ItemRulesParameters, Popularity, PopularityParameters
from serving.encoders import Reading
from serving.errors import BundleError
from serving.index import Index
from serving.recommender import Recommender
from serving.retrieval import NEAR, POPULAR, Blend, CounterSide, EncoderSide, best, first_only, ordered
from serving.session import Moment, join_lines
from serving.settings import ServingSettings
from tests.tiny_bundle import tiny_blend_contents

ITEMS = 50

sessions = st.lists(st.integers(1, 60), min_size=1, max_size=12)  # items above 50 are unknown


def moment(session: Sequence[int], at: int = 0) -> Moment:
    newest = session[-1] if session[-1] <= ITEMS else 0
    items, count = join_lines(f"i{item}" for item in session), len(session)
    return Moment(at, newest, count, items, join_lines(["view"] * count), bytes(8 * count))


@pytest.fixture(scope="module")
def blended(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of an encoder and two counters."""
    return write_bundle(tmp_path_factory.mktemp("blend") / "bundle", tiny_blend_contents())


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of counters alone."""
    contents = tiny_blend_contents(encoder=False)
    return write_bundle(tmp_path_factory.mktemp("counted") / "bundle", contents)


def by_hand(bundle: Bundle, session: Sequence[int], vector: np.ndarray) -> list[int]:
    """The definition, in float64 and one item at a time: every item of the catalogue is a candidate."""
    spec, blend = bundle.manifest.encoder, bundle.manifest.blend
    assert spec is not None
    assert blend is not None
    known = np.array([item for item in session if item <= ITEMS], np.int64)
    logits = spec.scale * bundle.vectors.astype(np.float64) @ vector.astype(np.float64)
    total = math.log(sum(math.exp(logit) for logit in logits[1:]))
    scores = {row: blend.encoder * (logits[row] - total) for row in range(1, ITEMS + 1)}
    sides = _counters(bundle)
    for counter, weight, floor in zip(sides, blend.counters, blend.floors, strict=True):
        votes = counter.score([known]).dense(ITEMS)[0].astype(np.float64)
        for row in scores:
            scores[row] += weight * math.log(votes[row] / max(votes.sum(), 1e-300) + floor)
    return sorted(scores, key=lambda row: -scores[row])


def _counters(bundle: Bundle) -> list[Counter]:
    blend = bundle.retrieval
    assert isinstance(blend, Blend)
    return [side.counter for side in blend.counters]


@given(session=sessions, seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_blend_is_the_weighted_sum_of_logarithms(blended: Bundle, session: list[int], seed: int) -> None:
    vector = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    rows = blended.retrieval.search([moment(session)], vector[None], [True], 10).rows
    assert rows[0].tolist() == by_hand(blended, session, vector)[:10]


@given(several=st.lists(sessions, min_size=1, max_size=9), data=st.data())
@settings(deadline=None)
def test_what_is_found_depends_on_the_session_alone_bit_for_bit(
    blended: Bundle, several: list[list[int]], data: st.DataObject
) -> None:
    vectors = np.random.default_rng(0).normal(size=(len(several), 8)).astype(np.float32)
    moments = [moment(session) for session in several]
    known = data.draw(st.lists(st.booleans(), min_size=len(several), max_size=len(several)))
    whole = blended.retrieval.search(moments, vectors, known, 7)
    begin = data.draw(st.integers(0, len(several) - 1))
    end = data.draw(st.integers(begin + 1, len(several)))
    part = blended.retrieval.search(moments[begin:end], vectors[begin:end], known[begin:end], 7)
    for found, expected in zip(part, whole, strict=True):
        assert found is not None
        assert expected is not None
        assert found.tobytes() == expected[begin:end].tobytes()


def test_candidates_of_one_side_are_scored_by_the_other(blended: Bundle) -> None:
    """With two candidates a side, the item that only the counter knows has its own inner product."""
    assert blended.index is not None
    vector = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    side = EncoderSide(index=blended.index, vectors=blended.vectors, scale=2.0, weight=1.0)
    nearest = blended.index.search(vector, 2)[1][0].tolist()
    farthest = int(blended.index.search(vector, ITEMS)[1][0, -1])
    rules = ItemRules(
        ItemRulesParameters(window=1, decay=1.0),
        np.array([0, 0, *[1] * ITEMS]),
        np.array([farthest]),
        np.array([1.0], np.float32),
    )
    blend = Blend(side, [CounterSide(counter=rules, weight=1.0, floor=0.1)], blended.catalogue, 2)
    found = blend.candidates([np.array([1])], vector, [True], 2)
    assert [row for row in found.rows[0].tolist() if row] == [*nearest, farthest]
    assert found.logits is not None
    logits = 2.0 * blended.vectors[[*nearest, farthest]] @ vector[0]
    own = found.logits[0][found.rows[0] > 0]
    np.testing.assert_allclose(own - own[0], logits - logits[0], atol=1e-5)
    assert np.exp(own[:2]).sum() == pytest.approx(1.0, abs=1e-5)
    assert found.shares[0][0].tolist() == [0.0, 0.0, 1.0, 0.0]


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=5))
def test_an_item_stays_where_it_stood_first(lines: list[list[int]]) -> None:
    expected = [[row if row not in line[:place] else 0 for place, row in enumerate(line)] for line in lines]
    assert first_only(np.array(lines)).tolist() == expected


scores = st.floats(-1e3, 1e3, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0])


@given(st.lists(scores, min_size=1, max_size=20), st.integers(1, 25))
def test_the_best_are_those_of_a_sort(values: list[float], k: int) -> None:
    rows = np.random.default_rng(0).permutation(len(values)).astype(np.int64)[None] + 1
    line = np.array(values, np.float32)[None]
    found_scores, found, places = best(line, rows, k)
    order = sorted(range(len(values)), key=lambda place: (-line[0, place], rows[0, place]))[:k]
    missing = [0] * (k - len(order))
    assert found[0].tolist() == [int(rows[0, place]) for place in order] + missing
    assert found_scores[0].tolist() == [line[0, place] for place in order] + [-math.inf] * len(missing)
    assert places[0, : len(order)].tolist() == order


@given(scores, scores)
def test_integers_stand_in_the_order_of_their_scores(one: float, other: float) -> None:
    first, second = ordered(np.array([one, other], np.float32)).tolist()
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)


def test_a_bundle_of_counters_makes_lists_and_says_so(counted: Bundle) -> None:
    assert (counted.manifest.encoder, counted.index, counted.vectors.shape) == (None, None, (51, 0))
    recommender = Recommender(counted, ServingSettings(list_size=5))
    moments = [moment([3, 7], 0), moment([55, 60], 1)]
    vectors, known = counted.encoder.encode([Reading([m], []) for m in moments], counted.catalogue.rows_of)
    assert known == [False, False]
    found, nothing = recommender.recommend(moments, vectors, known)
    assert (found.source, nothing.source) == ("counters", "counters")  # popularity is one of them
    assert "i7" not in found.shown.split("\n")


def test_a_blend_names_its_source(blended: Bundle) -> None:
    recommender = Recommender(blended, ServingSettings(list_size=5))
    [ranked] = recommender.recommend([moment([3, 7])], np.ones((1, 8), np.float32), [True])
    assert ranked.source == "blend"
    assert blended.manifest.model == "gru+item-rules+popularity"


def test_a_blend_is_the_same_after_it_was_written_and_read(blended: Bundle) -> None:
    again = load_bundle(blended.directory)
    vector = np.random.default_rng(2).normal(size=(1, 8)).astype(np.float32)
    found, same = (bundle.retrieval.search([moment([1, 2])], vector, [True], 9) for bundle in (blended, again))
    assert found.scores.tobytes() == same.scores.tobytes()
    assert found.rows.tobytes() == same.rows.tobytes()


def test_the_longest_window_of_all_sides_is_the_bundles(blended: Bundle, counted: Bundle) -> None:
    assert (blended.window, counted.window) == (20, 20)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"blend": None}, "no blend to say what it counts"),
        ({"blend": BlendSpec(encoder=1.0, counters=[1.0], floors=[1e-4], candidates=500)}, "2 counters, and a blend"),
        ({"counters": (), "encoder": None, "vectors": None, "blend": None}, "names no model"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    contents = dataclasses.replace(tiny_blend_contents(), **changed)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=said):
        write_bundle(tmp_path / "bundle", contents)
    assert not list(tmp_path.iterdir())


def test_popularity_and_the_index_are_asked_for_no_more_than_there_is() -> None:
    vectors = np.eye(4, 3, dtype=np.float32)
    vectors[0] = 0
    popular = Popularity(PopularityParameters(), np.array([1, 2, 3]), np.array([0.5, 0.3, 0.2], np.float32))
    side = EncoderSide(index=Index.build(vectors, "Flat"), vectors=vectors, scale=1.0, weight=1.0)
    sides = [CounterSide(counter=popular, weight=1.0, floor=1e-3)]
    blend = Blend(side, sides, Catalogue(["i1", "i2", "i3"]), 500)
    scores, rows, _ = blend.search([moment([1])], np.ones((1, 3), np.float32), [True], 5)
    assert sorted(rows[0].tolist()) == [0, 0, 1, 2, 3]
    assert scores[0, 3:].tolist() == [-math.inf, -math.inf]


def rules(window: int, *votes: tuple[int, list[int]], items: int = ITEMS) -> ItemRules:
    """Return rules by which an item votes for others, the first the strongest."""
    followers = dict(votes)
    sizes = [len(followers.get(row, [])) for row in range(items + 1)]
    rows = [follower for row in sorted(followers) for follower in followers[row]]
    weights = [1 / (place + 1) for row in sorted(followers) for place in range(len(followers[row]))]
    begin = np.concatenate([[0], np.cumsum(sizes)])
    return ItemRules(
        ItemRulesParameters(window=window, decay=1.0), begin, np.array(rows), np.array(weights, np.float32)
    )


def side(counter: Counter) -> CounterSide:
    return CounterSide(counter=counter, weight=1.0, floor=1e-3)


CATALOGUE = Catalogue([f"i{row}" for row in range(1, ITEMS + 1)])
NOTHING = np.zeros((1, 0), np.float32)


def test_what_one_counter_reads_is_no_other_ones_business() -> None:
    short, long = rules(1, (1, [10]), (2, [20])), rules(3, (1, [30]))
    for session, expected in (([1, 2], {20, 30}), ([1, 99], {30}), ([2, 99, 98], set()), ([1, 98, 99], {30})):
        found = Blend(None, [side(short), side(long)], CATALOGUE, 9).search([moment(session)], NOTHING, [False], 5)
        assert set(found.rows[0].tolist()) - {0} == expected


def test_a_list_that_needs_more_than_the_candidates_gets_them() -> None:
    followers = [7, 3, 9, 4, 8]
    found = Blend(None, [side(rules(1, (1, followers)))], CATALOGUE, 2).search([moment([1])], NOTHING, [False], 5)
    assert found.rows[0].tolist() == followers


def test_an_encoder_that_knows_nothing_of_a_session_is_left_out(blended: Bundle) -> None:
    """What an encoder has forgotten, or never knew, counters may know."""
    assert blended.index is not None
    encoder = EncoderSide(index=blended.index, vectors=blended.vectors, scale=2.0, weight=1.0)
    votes = side(rules(2, (1, [7, 3])))
    found = Blend(encoder, [votes], CATALOGUE, 9).search([moment([1])], np.ones((1, 8), np.float32), [False], 4)
    alone = Blend(None, [votes], CATALOGUE, 9).search([moment([1])], NOTHING, [False], 4)
    assert [values.tolist() for values in found if values is not None] == [
        values.tolist() for values in alone if values is not None
    ]
    assert alone.rows[0].tolist() == [7, 3, 0, 0]


def test_what_is_said_of_an_item_is_what_found_it(blended: Bundle) -> None:
    assert blended.index is not None
    vector = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    order = blended.index.search(vector, ITEMS)[1][0].tolist()
    nearest, other, last, popular = order[0], order[-3], order[-2], order[-1]
    encoder = EncoderSide(index=blended.index, vectors=blended.vectors, scale=2.0, weight=0.0)
    everyones = Popularity(PopularityParameters(), np.sort([nearest, popular]), np.ones(2, np.float32))
    several: list[Counter] = [everyones, rules(3, (1, [last, nearest]), (2, [last])), rules(3, (1, [last, other]))]
    blend = Blend(encoder, [side(counter) for counter in several], CATALOGUE, 3)
    found = blend.search([moment([1, 2])], vector, [True], 6)
    assert found.because is not None
    said = dict(zip(found.rows[0].tolist(), found.because[0].tolist(), strict=True))
    # 2 is the newest that voted for the last, by the first counter; two things speak for the nearest, and votes first.
    voted = {nearest: 1, last: 2, other: 1, popular: POPULAR}
    assert said == voted | dict.fromkeys(sorted(order[1:6])[:2], NEAR)


def test_many_sessions_take_little_memory_and_none_another_bit() -> None:
    items, dim, count = 700, 128, 192
    random = np.random.default_rng(3)
    vectors = random.normal(size=(items + 1, dim)).astype(np.float32)
    encoder = EncoderSide(index=Index.build(vectors, "Flat"), vectors=vectors, scale=1.0, weight=1.0)
    everyones = Popularity(PopularityParameters(), np.arange(1, items + 1), random.random(items).astype(np.float32) + 1)
    votes = rules(1, *((row, (random.permutation(items)[:500] + 1).tolist()) for row in range(1, 51)), items=items)
    catalogue = Catalogue([f"i{row}" for row in range(1, items + 1)])
    blend = Blend(encoder, [side(votes), side(everyones)], catalogue, 500)
    moments = [moment([n % ITEMS + 1]) for n in range(count)]
    queries = random.normal(size=(count, dim)).astype(np.float32)
    tracemalloc.start()
    scores, rows, _ = blend.search(moments, queries, [True] * count, 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # the vectors of one counter's candidates alone: 49 MB
    for n in range(0, count, 13):
        alone = blend.search(moments[n : n + 1], queries[n : n + 1], [True], 20)
        assert alone.scores.tobytes() == scores[n].tobytes()
        assert alone.rows.tobytes() == rows[n].tobytes()
