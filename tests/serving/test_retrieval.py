import dataclasses
import math
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
from serving.retrieval import Blend, CounterSide, EncoderSide, best, first_only, ordered
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
    _, rows = blended.retrieval.search([moment(session)], vector[None], 10)
    assert rows[0].tolist() == by_hand(blended, session, vector)[:10]


@given(several=st.lists(sessions, min_size=1, max_size=9), data=st.data())
@settings(deadline=None)
def test_what_is_found_depends_on_the_session_alone_bit_for_bit(
    blended: Bundle, several: list[list[int]], data: st.DataObject
) -> None:
    vectors = np.random.default_rng(0).normal(size=(len(several), 8)).astype(np.float32)
    moments = [moment(session) for session in several]
    scores, rows = blended.retrieval.search(moments, vectors, 7)
    begin = data.draw(st.integers(0, len(several) - 1))
    end = data.draw(st.integers(begin + 1, len(several)))
    part_scores, part_rows = blended.retrieval.search(moments[begin:end], vectors[begin:end], 7)
    assert part_scores.tobytes() == scores[begin:end].tobytes()
    assert part_rows.tobytes() == rows[begin:end].tobytes()


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
    found = blend.candidates([np.array([1])], vector)
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
    found_scores, found = best(line, rows, k)
    order = sorted(range(len(values)), key=lambda place: (-line[0, place], rows[0, place]))[:k]
    missing = [0] * (k - len(order))
    assert found[0].tolist() == [int(rows[0, place]) for place in order] + missing
    assert found_scores[0].tolist() == [line[0, place] for place in order] + [-math.inf] * len(missing)


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
    assert known == [True, False]
    found, nothing = recommender.recommend(moments, vectors, known)
    assert (found.source, nothing.source) == ("counters", "popularity")
    assert "i7" not in found.shown.split("\n")


def test_a_blend_names_its_source(blended: Bundle) -> None:
    recommender = Recommender(blended, ServingSettings(list_size=5))
    [ranked] = recommender.recommend([moment([3, 7])], np.ones((1, 8), np.float32), [True])
    assert ranked.source == "blend"
    assert blended.manifest.model == "gru+item-rules+popularity"


def test_a_blend_is_the_same_after_it_was_written_and_read(blended: Bundle) -> None:
    again = load_bundle(blended.directory)
    vector = np.random.default_rng(2).normal(size=(1, 8)).astype(np.float32)
    (scores, rows), (same_scores, same_rows) = (
        bundle.retrieval.search([moment([1, 2])], vector, 9) for bundle in (blended, again)
    )
    assert scores.tobytes() == same_scores.tobytes()
    assert rows.tobytes() == same_rows.tobytes()


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
    scores, rows = blend.search([moment([1])], np.ones((1, 3), np.float32), 5)
    assert sorted(rows[0].tolist()) == [0, 0, 1, 2, 3]
    assert scores[0, 3:].tolist() == [-math.inf, -math.inf]
