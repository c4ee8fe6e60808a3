import msgspec
import numpy as np
import pytest
import safetensors.numpy

from serving.counters import (
    Counter,
    ItemRules,
    ItemRulesParameters,
    Popularity,
    PopularityParameters,
    SessionKnn,
    SessionKnnParameters,
    read_counter,
)
from serving.errors import BundleError

ITEMS = 4
POPULARITY = Popularity(PopularityParameters(), np.array([1, 3]), np.array([0.25, 0.75], np.float32))
RULES = ItemRules(
    ItemRulesParameters(window=3, decay=0.5),
    np.array([0, 0, 2, 3, 3, 3]),
    np.array([2, 4, 1]),
    np.array([1, 0.5, 1], np.float32),
)
KNN = SessionKnn(
    SessionKnnParameters(window=3, neighbours=2, sample=5, nearby_scale=2.0),
    np.array([0, 2, 4]),
    np.array([1, 2, 4, 1]),
    np.array([0, 1, 0, 3]),
    np.array([0.5, 1], np.float32),
    np.array([1, 1, 2, 1, 1], np.float32),
)
COUNTERS: list[Counter] = [POPULARITY, RULES, KNN]
SESSIONS = [np.array([1]), np.array([4, 0, 2]), np.array([3]), np.zeros(0, np.int64)]


@pytest.mark.parametrize("counter", COUNTERS, ids=lambda counter: counter.kind)
def test_a_counter_survives_the_disk(counter: Counter) -> None:
    parameters = msgspec.json.decode(msgspec.json.encode(counter.parameters))
    tensors = safetensors.numpy.load(safetensors.numpy.save(dict(counter.tensors())))
    again = read_counter(counter.kind, parameters, tensors, ITEMS)
    assert again.window == counter.window
    assert again.score(SESSIONS).dense(ITEMS).tolist() == counter.score(SESSIONS).dense(ITEMS).tolist()


def test_hand_computed_votes() -> None:
    assert POPULARITY.score(SESSIONS[:2]).dense(ITEMS).tolist() == [[0, 0.25, 0, 0.75, 0]] * 2
    # 2 is the newest and votes for 1; 4 has no followers. Row 0 takes no place.
    assert RULES.score(SESSIONS).dense(ITEMS).tolist() == [[0, 0, 1, 0, 0.5], [0, 1, 0, 0, 0], [0] * 5, [0] * 5]
    # Two items: 2, the newest, weighs 1 and 4 weighs 1/2. The older session (weight 1/2) has 2: similarity 1/4, match
    # 0.9; 1 is one place off. The newer has 4: 1/4 and 0.8; 1 is three places off. Votes for 2 count double.
    near, far = 0.25 * 0.9, 0.25 * 0.8
    expected = [0, near * np.exp(-0.5) + far * np.exp(-1.5), 2 * near, 0, far]
    assert KNN.score(SESSIONS[1:2]).dense(ITEMS)[0].tolist() == pytest.approx(expected)


def test_the_newest_item_of_the_session_that_voted_is_told() -> None:
    rows = np.array([[1, 2, 3, 4]])
    assert POPULARITY.score(SESSIONS[1:2]).voters_of(rows).tolist() == [[0, 0, 0, 0]]
    # Both 1 and 2 are clicked, and 1 alone votes for 2 and 4.
    assert RULES.score([np.array([1, 0, 2])]).voters_of(rows).tolist() == [[2, 1, 0, 1]]
    # The older session has 2 and votes for 1 and 2, the newer one has 4 and votes for 4 and 1.
    assert KNN.score([np.array([4, 0, 2])]).voters_of(rows).tolist() == [[2, 2, 0, 4]]


def test_an_item_that_weighs_nothing_gets_no_vote() -> None:
    tensors = {**KNN.tensors(), "item_weights": np.array([1, 0, 2, 1, 1], np.float32)}
    votes = read_counter(KNN.kind, msgspec.to_builtins(KNN.parameters), tensors, ITEMS).score(SESSIONS)
    assert (votes.scores > 0).all()
    assert votes.begin.tolist() == [0, 2, 4, 4, 4]


@pytest.mark.parametrize(
    ("counter", "name", "value"),
    [
        (POPULARITY, "rows", np.array([3, 1], np.int32)),
        (POPULARITY, "rows", np.array([1, 5], np.int32)),
        (POPULARITY, "rows", np.array([0, 1], np.int32)),
        (POPULARITY, "rows", np.array([1, -(2**31)], np.int32)),
        (POPULARITY, "scores", np.array([0, 1], np.float32)),
        (POPULARITY, "scores", np.array([np.nan, 1], np.float32)),
        (POPULARITY, "scores", np.array([0.25, 0.75])),
        (RULES, "begin", np.array([0, 0, 2, 1, 3, 3], np.int32)),
        (RULES, "begin", np.array([0, 0, 2, 3, 3], np.int32)),
        (RULES, "begin", np.array([0, 0, 2, 3, 3, 4], np.int32)),
        # Each is more than the one before it, but only as differences of int32 count.
        (RULES, "begin", np.array([0, 2**31 - 1, -(2**31), -1, 0, 3], np.int32)),
        (RULES, "followers", np.array([2, 5, 1], np.int32)),
        (RULES, "followers", np.array([2, 0, 1], np.int32)),
        (RULES, "followers", np.array([[2, 4, 1]], np.int32)),
        (RULES, "weights", np.array([1, np.inf, 1], np.float32)),
        (RULES, "weights", np.array([1, -1, 1], np.float32)),
        (RULES, "more", np.array([1], np.float32)),
        (KNN, "begin", np.array([0, 2, 3], np.int32)),
        (KNN, "begin", np.array([], np.int32)),
        (KNN, "items", np.array([1, 2, 4, -1], np.int32)),
        (KNN, "items", np.array([1, 0, 4, 1], np.int32)),
        (KNN, "places", np.array([1], np.int32)),
        (KNN, "session_weights", np.array([0.5], np.float32)),
        (KNN, "session_weights", np.array([0.5, np.nan], np.float32)),
        (KNN, "item_weights", np.array([1, 1, 1, 1, -1], np.float32)),
    ],
)
def test_tensors_that_cannot_be_are_refused(counter: Counter, name: str, value: np.ndarray) -> None:
    with pytest.raises(BundleError, match=rf"{counter.kind}.*export the bundle again"):
        read_counter(counter.kind, msgspec.to_builtins(counter.parameters), {**counter.tensors(), name: value}, ITEMS)


@pytest.mark.parametrize(
    "change", [{"window": 0}, {"decay": 1.5}, {"decay": "much"}, {"more": 1}], ids=lambda change: str(change)
)
def test_parameters_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    parameters = {**msgspec.to_builtins(RULES.parameters), **change}
    value = "" if "more" in change else f", found {next(iter(change.values()))!r} at"
    with pytest.raises(BundleError, match=f"parameters of counter item-rules.*{value}"):
        read_counter("item-rules", parameters, RULES.tensors(), ITEMS)


@pytest.mark.parametrize("counter", [RULES, KNN], ids=lambda counter: counter.kind)
@pytest.mark.parametrize("window", [401, 10**13])
def test_a_window_longer_than_a_session_is_refused_before_tables_of_it_are_made(counter: Counter, window: int) -> None:
    parameters = {**msgspec.to_builtins(counter.parameters), "window": window}
    with pytest.raises(BundleError, match=f"{counter.kind}: window is {window}, and no session keeps more than 400"):
        read_counter(counter.kind, parameters, counter.tensors(), ITEMS)


def test_places_are_wanted_where_they_are_used_only() -> None:
    parameters = {**msgspec.to_builtins(KNN.parameters), "nearby_scale": None}
    with pytest.raises(BundleError, match="tensors are"):
        read_counter("session-knn", parameters, KNN.tensors(), ITEMS)


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(BundleError, match="'oracle', only popularity, item-rules, session-knn"):
        read_counter("oracle", {}, {}, ITEMS)
