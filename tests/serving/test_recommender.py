import numpy as np
import pytest

from serving.bundle import Bundle
from serving.errors import WrongUse
from serving.recommender import Query, RankedList, Recommender
from serving.settings import ServingSettings


def ids(ranked: RankedList) -> list[str]:
    return [item.item_id for item in ranked.items]


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
    [ranked] = recommender.recommend([Query(vector, session, session[-1])])
    assert ranked.source == "encoder"
    assert ids(ranked) == [item for item in best if item not in out][:5]


def test_scores_are_inner_products_best_first(bundle: Bundle, vector: np.ndarray) -> None:
    [ranked] = Recommender(bundle, ServingSettings()).recommend([Query(vector, [1], 1)])
    scores = [item.score for item in ranked.items]
    assert scores == sorted(scores, reverse=True)
    for item in ranked.items:
        assert item.score == pytest.approx(float(bundle.vectors[bundle.catalogue.row(item.item_id)] @ vector), abs=1e-5)


def test_a_reason_names_the_nearest_of_the_sessions_latest_items(bundle: Bundle, vector: np.ndarray) -> None:
    session = [3, 9, 14]
    [ranked] = Recommender(bundle, ServingSettings()).recommend([Query(vector, session, 14)])
    for item in ranked.items:
        row = bundle.catalogue.row(item.item_id)
        nearest = max(session, key=lambda seen: float(bundle.vectors[seen] @ bundle.vectors[row]))
        assert (item.reason.kind, item.reason.item_ids) == ("session", [f"i{nearest}"])


def test_without_a_vector_the_list_is_what_is_popular(bundle: Bundle) -> None:
    [ranked] = Recommender(bundle, ServingSettings(list_size=3)).recommend([Query(None, [], 0)])
    assert ranked.source == "popularity"
    assert ids(ranked) == ["i1", "i2", "i3"]
    total = sum(range(51))
    assert [item.score for item in ranked.items] == pytest.approx([50 / total, 49 / total, 48 / total], abs=1e-6)
    assert {item.reason.kind for item in ranked.items} == {"popular"}


def test_a_list_does_not_depend_on_the_queries_beside_it(bundle: Bundle) -> None:
    random = np.random.default_rng(6)
    queries = [Query(v, [1, 2], 2) if n % 3 else Query(None, [], 0) for n, v in enumerate(random.normal(size=(40, 8)))]
    recommender = Recommender(bundle, ServingSettings())
    assert recommender.recommend(queries) == [recommender.recommend([query])[0] for query in queries]


def test_a_list_is_shorter_only_where_the_catalogue_has_no_more(bundle: Bundle, vector: np.ndarray) -> None:
    recommender = Recommender(bundle, ServingSettings(list_size=200, exclude="current"))
    [encoded, popular] = recommender.recommend([Query(vector, [1], 1), Query(None, [], 0)])
    assert (len(encoded.items), len(popular.items)) == (49, 50)


def test_a_bundle_that_reads_more_than_a_session_keeps_is_refused(bundle: Bundle) -> None:
    with pytest.raises(WrongUse, match="reads the last 6 events of a session, session_length keeps 4: set"):
        Recommender(bundle, ServingSettings(session_length=4))
