import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bundle import Bundle
from serving.errors import WrongUse
from serving.events import Reason, RecommendedItem
from serving.recommender import MODEL_SOURCES, ListWriter, RankedList, Recommender
from serving.session import Interaction, Moment, SessionState, last_lines
from serving.settings import ServingSettings


def moment(*session: int) -> Moment:
    """A session of items of the tiny bundle, whose rows are their numbers up to 50."""
    newest = session[-1] if session[-1] <= 50 else 0
    state = SessionState.of([Interaction(f"i{item}", "view", n, n) for n, item in enumerate(session)])
    return Moment(0, newest, len(session), state.items, state.types, state.times)


def lists(recommender: Recommender, vector: np.ndarray | None, *moments: Moment) -> list[RankedList]:
    """Lists of moments that have one vector, or none."""
    vectors = np.zeros((len(moments), 8), np.float32) if vector is None else np.stack([vector] * len(moments))
    return recommender.recommend(moments, vectors, [vector is not None] * len(moments))


def items(ranked: RankedList) -> list[RecommendedItem]:
    return msgspec.json.decode(ranked.items, type=list[RecommendedItem])


def ids(ranked: RankedList) -> list[str]:
    found = [item.item_id for item in items(ranked)]
    assert last_lines(ranked.shown, len(found)) == found
    return found


def exact(bundle: Bundle, vector: np.ndarray) -> list[str]:
    """All items by inner product, computed without the index."""
    order = np.argsort(-(bundle.vectors[1:].astype(np.float64) @ vector.astype(np.float64)))
    return [f"i{row + 1}" for row in order]


@pytest.fixture
def vector() -> np.ndarray:
    return np.random.default_rng(5).normal(size=8).astype(np.float32)


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
def test_a_list_is_the_exact_one_without_what_is_excluded(bundle: Bundle, vector: np.ndarray, exclude: str) -> None:
    best = exact(bundle, vector)
    session = [bundle.catalogue.row(best[place]) for place in (0, 4, 2)]  # the last one is the current item
    recommender = Recommender(bundle, ServingSettings(exclude=exclude, list_size=5))
    out = {"none": set(), "current": {best[2]}, "seen": {best[0], best[2], best[4]}}[exclude]
    [ranked] = lists(recommender, vector, moment(*session))
    assert ranked.source == "encoder"
    assert ids(ranked) == [item for item in best if item not in out][:5]


def test_scores_are_inner_products_best_first(bundle: Bundle, vector: np.ndarray) -> None:
    [ranked] = lists(Recommender(bundle, ServingSettings()), vector, moment(1))
    scores = [item.score for item in items(ranked)]
    assert scores == sorted(scores, reverse=True)
    for item in items(ranked):
        assert item.score == pytest.approx(float(bundle.vectors[bundle.catalogue.row(item.item_id)] @ vector), abs=1e-5)


@pytest.mark.parametrize(
    ("session", "latest"),
    [
        ([3, 9, 14], [3, 9, 14]),
        ([60, 3, 61], [3]),  # unknown items speak for nothing
        (list(range(1, 31)), list(range(21, 31))),
        ([*range(1, 21), *[30, 31] * 10], [*range(13, 21), 30, 31]),  # further back than is looked at first
    ],
)
def test_a_reason_names_the_nearest_of_the_sessions_latest_known_items(
    bundle: Bundle, vector: np.ndarray, session: list[int], latest: list[int]
) -> None:
    [ranked] = lists(Recommender(bundle, ServingSettings()), vector, moment(*session))
    for item in items(ranked):
        row = bundle.catalogue.row(item.item_id)
        nearest = max(latest, key=lambda seen: float(bundle.vectors[seen] @ bundle.vectors[row]))
        assert (item.reason.kind, item.reason.item_ids) == ("session", [f"i{nearest}"])


def test_without_a_vector_the_list_is_what_is_popular(bundle: Bundle) -> None:
    [ranked] = lists(Recommender(bundle, ServingSettings(list_size=3)), None, moment(60))
    assert ranked.source == "popularity"
    assert ids(ranked) == ["i1", "i2", "i3"]
    total = sum(range(51))
    assert [item.score for item in items(ranked)] == pytest.approx([50 / total, 49 / total, 48 / total], abs=1e-6)
    assert {item.reason.kind for item in items(ranked)} == {"popular"}


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
def test_what_is_popular_is_without_what_is_excluded_too(bundle: Bundle, exclude: str) -> None:
    recommender = Recommender(bundle, ServingSettings(exclude=exclude, list_size=3))
    for session in ([2, 1], [3, 2], [2, 40], [1, 60], [2, 1]):
        out = {"none": set(), "current": {session[-1]}, "seen": set(session)}[exclude]
        expected = [f"i{item}" for item in range(1, 10) if item not in out][:3]
        [popular] = lists(recommender, None, moment(*session))
        [shed] = recommender.fall_back([moment(*session)])
        assert (ids(popular), ids(shed)) == (expected, expected)
        assert (popular.source, shed.source) == ("popularity", "shed")


@pytest.mark.parametrize("exclude", ["none", "current", "seen"])
def test_a_list_does_not_depend_on_those_beside_it(bundle: Bundle, exclude: str) -> None:
    random = np.random.default_rng(6)
    vectors = random.normal(size=(40, 8)).astype(np.float32)
    moments = [moment(*random.integers(1, 51, random.integers(1, 30)).tolist()) for _ in range(40)]
    known = [bool(n % 3) for n in range(40)]
    recommender = Recommender(bundle, ServingSettings(exclude=exclude))
    alone = [recommender.recommend([moments[n]], vectors[n : n + 1], [known[n]])[0] for n in range(40)]
    assert recommender.recommend(moments, vectors, known) == alone


def test_a_list_is_shorter_only_where_the_catalogue_has_no_more(bundle: Bundle, vector: np.ndarray) -> None:
    recommender = Recommender(bundle, ServingSettings(list_size=200, exclude="current"))
    [encoded] = lists(recommender, vector, moment(1))
    [popular] = lists(recommender, None, moment(60))
    assert (len(ids(encoded)), len(ids(popular))) == (49, 50)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
scores = st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda score: round(score, 6))


@given(
    st.lists(texts, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), scores, st.integers(0, 7))),
    st.sampled_from(sorted(MODEL_SOURCES)),
)
@settings(deadline=None)
def test_a_list_is_written_as_its_items_would_be_one_by_one(
    item_ids: list[str], places: list[tuple[int, float, int]], source: str
) -> None:
    size = len(item_ids)
    rows, values, because = (
        [r % size for r, _, _ in places],
        [s for _, s, _ in places],
        [b % size for _, _, b in places],
    )
    found = ListWriter(item_ids, source).near(rows, values, because)
    expected = [
        RecommendedItem(item_ids[row], value, Reason("session", [item_ids[near]]))
        for row, value, near in zip(rows, values, because, strict=True)
    ]
    assert found == RankedList.of(source, expected)
    assert bytes(found.items) == msgspec.json.encode(expected)


def test_a_bundle_that_needs_the_time_of_the_query_is_refused(query_bundle: Bundle) -> None:
    with pytest.raises(WrongUse, match=r"needs query_time, which no stream knows .* model\.time_of=last"):
        Recommender(query_bundle, ServingSettings())


def test_a_bundle_that_reads_more_than_a_session_keeps_is_refused(bundle: Bundle) -> None:
    with pytest.raises(WrongUse, match="reads the last 6 events of a session, session_length keeps 4: set"):
        Recommender(bundle, ServingSettings(session_length=4))
