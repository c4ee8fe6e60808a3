"""Each counter against itself, written slowly, on random sessions; and what none of them may do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.counters import Counter, read_counter
from serving.errors import WrongUse
from tests.training.conftest import as_rows
from tests.training.counters import slow
from training.counters import (
    MARKOV,
    VMIS_KNN,
    VSKNN,
    VSTAN,
    CounterConfig,
    ItemKnnConfig,
    PopularityConfig,
    SequentialRulesConfig,
    SessionKnnConfig,
    fit_counter,
    fit_item_knn,
    fit_popularity,
    fit_sequential_rules,
    fit_session_knn,
)

ITEMS = 7
HOUR_MS = 3600 * 1000

rows = st.integers(0, ITEMS)
session = st.lists(rows, max_size=9)
# Some sessions end at the same time, and they are not in order.
training = st.lists(st.tuples(session, st.integers(0, 40)), min_size=1, max_size=25)
queries = st.lists(session, max_size=6)
half_life = st.sampled_from([None, 0.5])

rules_configs = st.builds(
    SequentialRulesConfig,
    steps=st.integers(1, 5),
    gap_power=st.sampled_from([0.0, 1.0, 2.0]),
    window=st.integers(1, 6),
    decay=st.sampled_from([0.5, 0.8, 1.0]),
    normalise=st.sampled_from([0.0, 0.5, 1.0]),
    power=st.sampled_from([0.5, 1.0, 2.0]),
    rarity=st.sampled_from([0.0, 0.3]),
    followers=st.sampled_from([2, 3, 100]),
    half_life_days=half_life,
)
item_knn_configs = st.builds(
    ItemKnnConfig,
    alpha=st.sampled_from([0.0, 0.5, 1.0]),
    shrinkage=st.sampled_from([0.0, 20.0]),
    window=st.integers(1, 6),
    decay=st.sampled_from([0.5, 1.0]),
    followers=st.sampled_from([2, 100]),
    longest=st.sampled_from([2, 100]),
    half_life_days=half_life,
)
session_knn_configs = st.builds(
    SessionKnnConfig,
    window=st.sampled_from([1, 3, 12]),
    neighbours=st.sampled_from([1, 3, 100]),
    sample=st.sampled_from([1, 4, 100]),
    recency=st.sampled_from(["linear", "exponential"]),
    similarity=st.sampled_from(["dot", "cosine"]),
    power=st.sampled_from([0.5, 1.0]),
    rarity=st.sampled_from([0.0, 0.3]),
    match=st.sampled_from(["same", "linear", "reciprocal", "exponential"]),
    match_scale=st.just(2.0),
    nearby_scale=st.sampled_from([None, 2.0]),
    idf=st.sampled_from([0.0, 1.0, 5.0]),
    half_life_days=half_life,
    longest=st.sampled_from([2, 100]),
)


def split(given_training: list[tuple[list[int], int]]) -> tuple[list[list[int]], list[int]]:
    return [rows for rows, _ in given_training], [end * HOUR_MS for _, end in given_training]


def check(
    counter: Counter, sessions: Sequence[Sequence[int]], expected: Callable[[Sequence[int]], slow.Counts]
) -> None:
    """Compare a batch with the slow counter, session by session."""
    found = counter.score(as_rows(sessions)).dense(ITEMS)
    wanted = np.zeros(found.shape)
    for line, rows in zip(wanted, sessions, strict=True):
        for row, votes in expected(rows).items():
            line[row] = votes
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@given(training, queries, rules_configs)
def test_sequential_rules(given_training: Any, sessions: list[list[int]], config: SequentialRulesConfig) -> None:
    sequences, ends_ms = split(given_training)
    table = slow.sequential_rules(sequences, config, ends_ms)
    counter = fit_sequential_rules(as_rows(sequences), ITEMS, config, ends_ms=np.array(ends_ms))
    check(counter, sessions, lambda rows: slow.look_up(table, config.window, config.decay, rows))


@given(training, queries, item_knn_configs)
def test_item_knn(given_training: Any, sessions: list[list[int]], config: ItemKnnConfig) -> None:
    sequences, ends_ms = split(given_training)
    table = slow.item_knn(sequences, config, ends_ms)
    counter = fit_item_knn(as_rows(sequences), ITEMS, config, ends_ms=np.array(ends_ms))
    check(counter, sessions, lambda rows: slow.look_up(table, config.window, config.decay, rows))


@given(training, queries, session_knn_configs)
def test_session_knn(given_training: Any, sessions: list[list[int]], config: SessionKnnConfig) -> None:
    sequences, ends_ms = split(given_training)
    counter = fit_session_knn(as_rows(sequences), ITEMS, config, ends_ms=np.array(ends_ms))
    check(counter, sessions, lambda rows: slow.session_knn(sequences, config, ends_ms, rows))


@given(st.lists(st.lists(st.tuples(rows, st.integers(0, 40)), max_size=6), max_size=25), half_life)
def test_popularity(sessions: list[list[tuple[int, int]]], half_life_days: float | None) -> None:
    counter = fit_popularity(
        as_rows([[row for row, _ in session] for session in sessions]),
        ITEMS,
        PopularityConfig(half_life_days=half_life_days),
        times_ms=as_rows([[hour * HOUR_MS for _, hour in session] for session in sessions]),
    )
    clicks = [click for session in sessions for click in session]
    times = [hour * HOUR_MS for _, hour in clicks]
    weighted = list(zip(clicks, slow.weights_of(clicks, half_life_days, times), strict=True))
    total = sum(weight for (row, _), weight in weighted if row)
    shares = [0.0] * (ITEMS + 1)
    for (row, _), weight in weighted:
        shares[row] += weight / (total or 1) if row else 0
    np.testing.assert_allclose(counter.score(as_rows([[1], []])).dense(ITEMS), [shares, shares], rtol=1e-5)


FITS: list[Callable[..., Counter]] = [
    fit_popularity,
    fit_sequential_rules,
    fit_item_knn,
    fit_session_knn,
    lambda sequences, items: fit_session_knn(sequences, items, replace(VSTAN, power=0.7, rarity=0.2)),
]


@pytest.mark.parametrize("fit", FITS)
@given(training, st.lists(session, min_size=1, max_size=12), st.data())
def test_a_sessions_votes_are_its_own(fit: Any, given_training: Any, sessions: list[list[int]], data: Any) -> None:
    """Bit for bit, whatever else is in the batch, and however much."""
    counter = fit(as_rows(split(given_training)[0]), ITEMS)
    chosen = data.draw(st.integers(0, len(sessions) - 1))
    alone = counter.score(as_rows(sessions[chosen : chosen + 1])).dense(ITEMS)[0].tolist()
    assert counter.score(as_rows(sessions)).dense(ITEMS)[chosen].tolist() == alone
    assert counter.score([*as_rows([[]]) * 500, *as_rows(sessions)]).dense(ITEMS)[500 + chosen].tolist() == alone


@pytest.mark.parametrize("items", [60, 5_000])
@pytest.mark.parametrize("fit", FITS)
def test_votes_are_their_own_in_batches_that_are_counted_in_other_ways(fit: Any, items: int) -> None:
    """Large enough that batches are cut, and that some are counted in an array and others by sorting."""
    random = np.random.default_rng(7)
    sequences = [random.zipf(1.3, size) % items + 1 for size in random.integers(2, 40, 1500)]
    counter = fit(sequences[:1200], items)
    whole = counter.score(sequences[1200:])
    assert len(whole) == 300
    for number in range(0, 300, 10):
        alone = counter.score(sequences[1200 + number : 1201 + number])
        part = slice(whole.begin[number], whole.begin[number + 1])
        assert whole.rows[part].tolist() == alone.rows.tolist()
        assert whole.scores[part].tobytes() == alone.scores.tobytes()


@pytest.mark.parametrize("fit", FITS)
@given(training, queries)
def test_what_a_bundle_keeps_votes_the_same(fit: Any, given_training: Any, sessions: list[list[int]]) -> None:
    counter = fit(as_rows(split(given_training)[0]), ITEMS)
    assert {str(tensor.dtype) for tensor in counter.tensors().values()} <= {"int32", "float32"}
    again = read_counter(counter.kind, msgspec.to_builtins(counter.parameters), counter.tensors(), ITEMS)
    assert (
        again.score(as_rows(sessions)).dense(ITEMS).tolist() == counter.score(as_rows(sessions)).dense(ITEMS).tolist()
    )


def test_a_catalogue_larger_than_the_training_data_is_no_error() -> None:
    for fit in FITS:
        assert fit(as_rows([[1, 2]]), 50).score(as_rows([[50], [1]])).dense(50).shape == (2, 51)
        assert len(fit([], 50).score(as_rows([[50], [1]])).rows) == 0


def test_what_is_kept_is_bounded() -> None:
    sequences = as_rows([[1, 2, 3, 4, 5, 6, 7]] * 100)
    knn = fit_session_knn(sequences, ITEMS, SessionKnnConfig(sample=5, longest=4))
    # The newest five sessions, and of each the newest four items.
    assert knn.tensors()["items"].tolist() == [4, 5, 6, 7] * 5
    rules = fit_sequential_rules(sequences, ITEMS, SequentialRulesConfig(followers=2, normalise=0.0))
    assert rules.tensors()["followers"].tolist() == [2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    similar = fit_item_knn(sequences, ITEMS, ItemKnnConfig(followers=1))
    assert similar.tensors()["followers"].tolist() == [2, 1, 1, 1, 1, 1, 1]
    assert fit_popularity(sequences, ITEMS, PopularityConfig(most=3)).tensors()["rows"].tolist() == [1, 2, 3]


def test_markov_knows_what_came_right_after_the_last_item() -> None:
    # After 1: 2 twice. After 2: 3 once, 4 once.
    chain = fit_sequential_rules(as_rows([[1, 2, 3], [1, 2], [3, 2, 4]]), 4, MARKOV)
    assert chain.score(as_rows([[1], [1, 2], [4]])).dense(4).tolist() == [
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0.5, 0.5],
        [0, 0, 0, 0, 0],
    ]


def test_serenades_idf_is_a_multiple_of_ours() -> None:
    sequences = as_rows([[1, 2, 3], [1, 2], [1, 4], [5, 6, 7, 4]])
    clicks, counts = 11, np.array([3, 2, 1, 2, 1, 1, 1])
    fitted = fit_session_knn(sequences, ITEMS, replace(VMIS_KNN, idf=1 / np.log(clicks / 4)))
    ratio = fitted.tensors()["item_weights"][1:] / np.log(clicks / counts)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        PopularityConfig(half_life_days=1.0),
        SequentialRulesConfig(half_life_days=1.0),
        ItemKnnConfig(half_life_days=1.0),
        replace(VSKNN, half_life_days=1.0),
    ],
)
def test_a_half_life_needs_times(config: CounterConfig) -> None:
    with pytest.raises(WrongUse, match=r"half-life of 1.0 days needs the times"):
        fit_counter(config, as_rows([[1, 2]]), ITEMS, None)


@pytest.mark.parametrize(
    "config",
    [
        PopularityConfig(half_life_days=0.01),
        SequentialRulesConfig(half_life_days=0.01, rarity=0.5),
        ItemKnnConfig(half_life_days=0.01, shrinkage=0.0),
        replace(VSTAN, half_life_days=0.01),
    ],
)
def test_what_is_far_too_old_to_count_spoils_nothing(config: CounterConfig) -> None:
    times_ms = as_rows([[0, 0], [1000 * slow.DAY_MS] * 2])
    votes = fit_counter(config, as_rows([[1, 2], [3, 4]]), ITEMS, times_ms).score(as_rows([[1], [3]]))
    assert np.isfinite(votes.scores).all()
    assert votes.top(2)[1][1].max() == 4


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (PopularityConfig, {"half_life_days": 0.0}),
        (PopularityConfig, {"most": 0}),
        (SequentialRulesConfig, {"decay": 0.0}),
        (SequentialRulesConfig, {"decay": 1.1}),
        (SequentialRulesConfig, {"steps": 0}),
        (SequentialRulesConfig, {"window": 401}),
        (ItemKnnConfig, {"window": 401}),
        (SessionKnnConfig, {"window": 401}),
        (ItemKnnConfig, {"alpha": -1.0}),
        (ItemKnnConfig, {"decay": 1.1}),
        (ItemKnnConfig, {"longest": 0}),
        (SessionKnnConfig, {"neighbours": 0}),
        (SessionKnnConfig, {"nearby_scale": 0.0}),
        (SessionKnnConfig, {"sample": 2**20}),
        (SessionKnnConfig, {"half_life_days": -1.0}),
    ],
)
def test_values_out_of_range_are_named(make: Any, wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(WrongUse, match=rf"{name} must be .*{value}"):
        make(**wrong)
