"""Lists of bundles with counters: what is asked, what fills a list, and what its reasons say."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from serving.bundle import BlendSpec, Bundle, write_bundle
from serving.counters import Counter, ItemRules, ItemRulesParameters, Popularity, PopularityParameters
from serving.encoders import Reading
from serving.events import RecommendedItem
from serving.recommender import RankedList, Recommender
from serving.session import Moment, join_lines
from serving.settings import Exclude, ServingSettings
from tests.tiny_bundle import tiny_blend_contents

ITEMS = 50
UNKNOWN = 99
# In the training clicks i1 leads; here i50 does.
LATELY = Popularity(PopularityParameters(), np.arange(1, ITEMS + 1), np.arange(1, ITEMS + 1, dtype=np.float32))
# Item 1 votes for 9 and 2, item 5 for 2, nothing else votes.
RULES = ItemRules(
    ItemRulesParameters(window=3, decay=1.0),
    np.array([0, 0, 2, 2, 2, 2, *[3] * (ITEMS - 4)]),
    np.array([9, 2, 2]),
    np.array([1.0, 0.5, 0.25], np.float32),
)

Make = Callable[..., Bundle]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Writes a bundle of these counters, with an encoder or without."""

    def write(*counters: Counter, encoder: bool = False) -> Bundle:
        weights = [1.0] * len(counters)
        blend = BlendSpec(encoder=float(encoder), counters=weights, floors=[1e-4] * len(counters), candidates=3)
        contents = replace(tiny_blend_contents(encoder=encoder), counters=counters, blend=blend)
        directory: Path = tmp_path_factory.mktemp("counters") / "bundle"
        return write_bundle(directory, contents)

    return write


def moment(session: Sequence[int], at: int = 0) -> Moment:
    newest = session[-1] if session[-1] <= ITEMS else 0
    items, count = join_lines(f"i{item}" for item in session), len(session)
    return Moment(at, newest, count, items, join_lines(["view"] * count), bytes(8 * count))


def lists(bundle: Bundle, *sessions: Sequence[int], size: int = 5, exclude: Exclude = "current") -> list[RankedList]:
    moments = [moment(session, at) for at, session in enumerate(sessions)]
    vectors, known = bundle.encoder.encode([Reading([m], []) for m in moments], bundle.catalogue.rows_of)
    return Recommender(bundle, ServingSettings(list_size=size, exclude=exclude)).recommend(moments, vectors, known)


def items(ranked: RankedList) -> list[RecommendedItem]:
    return msgspec.json.decode(ranked.items, type=list[RecommendedItem])


def rows(ranked: RankedList) -> list[int]:
    found = [int(item.item_id[1:]) for item in items(ranked)]
    assert ranked.shown == "\n".join(f"i{row}" for row in found)
    return found


def reasons(ranked: RankedList) -> list[tuple[str, list[str]]]:
    return [(item.reason.kind, item.reason.item_ids) for item in items(ranked)]


@pytest.mark.parametrize("session", [[UNKNOWN], [3], [3, UNKNOWN]])
@pytest.mark.parametrize("others", [(), (RULES,)])
def test_a_counter_that_reads_no_session_is_asked_for_every_one(
    make: Make, session: list[int], others: tuple[Counter, ...]
) -> None:
    [ranked] = lists(make(LATELY, *others), session)
    assert (ranked.source, rows(ranked)) == ("counters", [50, 49, 48, 47, 46])
    assert reasons(ranked) == [("popular", [])] * 5


def test_a_blend_asks_its_counters_where_its_encoder_knows_nothing(make: Make) -> None:
    [ranked] = lists(make(LATELY, encoder=True), [UNKNOWN])
    assert (ranked.source, rows(ranked)) == ("blend", [50, 49, 48, 47, 46])
    assert reasons(ranked) == [("popular", [])] * 5


def test_a_list_is_filled_with_what_is_popular(make: Make) -> None:
    [ranked] = lists(make(RULES), [5, 1])
    assert (ranked.source, rows(ranked)) == ("counters", [9, 2, 3, 4, 5])
    scores = [item.score for item in items(ranked)]
    assert scores[0] > scores[1] == scores[2] == scores[3] == scores[4]
    # Both 5 and 1 voted for 2: 1 is the newer.
    assert reasons(ranked) == [("session", ["i1"]), ("session", ["i1"]), *[("popular", [])] * 3]
    [older] = lists(make(RULES), [1, 5])
    assert reasons(older)[:2] == [("session", ["i1"]), ("session", ["i5"])]


@pytest.mark.parametrize(
    ("exclude", "expected"), [("none", [9, 2, 1, 3]), ("current", [9, 2, 3, 4]), ("seen", [9, 2, 5, 6])]
)
def test_what_fills_a_list_is_not_excluded(make: Make, exclude: Exclude, expected: list[int]) -> None:
    [ranked] = lists(make(RULES), [3, 4, 1], size=4, exclude=exclude)
    assert rows(ranked) == expected


@pytest.mark.parametrize("session", [[3], [UNKNOWN], [1, 3, 3, 3], [1, UNKNOWN, UNKNOWN, UNKNOWN]])
def test_a_session_for_which_nothing_is_found_gets_what_is_popular(make: Make, session: list[int]) -> None:
    bundle = make(RULES)
    [ranked] = lists(bundle, session)
    [shed] = Recommender(bundle, ServingSettings(list_size=5)).fall_back([moment(session)])
    assert (ranked.source, ranked.items, ranked.shown) == ("popularity", shed.items, shed.shown)


def test_a_list_ends_where_the_catalogue_does(make: Make) -> None:
    assert len(rows(lists(make(RULES), [1], size=60)[0])) == ITEMS - 1


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
@pytest.mark.parametrize("encoder", [False, True])
def test_a_list_does_not_depend_on_those_beside_it(make: Make, exclude: Exclude, encoder: bool) -> None:
    random = np.random.default_rng(6)
    sessions = [random.choice([1, 2, 3, 5, UNKNOWN], random.integers(1, 6)).tolist() for _ in range(40)]
    bundle = make(RULES, encoder=encoder)
    alone = [lists(bundle, session, exclude=exclude)[0] for session in sessions]
    assert lists(bundle, *sessions, exclude=exclude) == alone
    assert {len(rows(ranked)) for ranked in alone} == {5}
    assert len({ranked.source for ranked in alone}) == 2


def test_the_reasons_of_a_blend_are_those_of_its_sides(make: Make) -> None:
    bundle = make(RULES, LATELY, encoder=True)
    [ranked] = lists(bundle, [7, 1], size=9)
    kinds = dict(zip(rows(ranked), reasons(ranked), strict=True))
    assert kinds[9] == ("session", ["i1"])
    assert bundle.index is not None
    [m] = [moment([7, 1])]
    vectors, _ = bundle.encoder.encode([Reading([m], [])], bundle.catalogue.rows_of)
    near = set(bundle.index.search(vectors, 10)[1][0].tolist())
    for row, reason in kinds.items():
        if row in near - {9, 2}:
            nearest = max([7, 1], key=lambda seen: float(bundle.vectors[seen] @ bundle.vectors[row]))
            assert reason == ("session", [f"i{nearest}"])
        elif row not in {9, 2}:
            assert reason == ("popular", [])
