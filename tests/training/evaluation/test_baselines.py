import numpy as np
import pytest

from tests.training.conftest import as_events
from training.evaluation.baselines import Popularity, RecentPopularity, Scorer, SequentialRules, fit_baselines, markov
from training.evaluation.cases import Context

SESSIONS = [np.array([1, 2, 3]), np.array([1, 2]), np.array([3, 2, 4])]


def scores(scorer: Scorer, *prefixes: list[int]) -> list[list[float]]:
    found = scorer.scores([Context(events, 0) for events in as_events(prefixes)])
    # Ties are broken by a millionth of the popularity, which these tests look past.
    return np.round(found, 5).tolist()  # type: ignore[no-any-return]


def order(scorer: Scorer, prefix: list[int]) -> list[int]:
    (line,) = scorer.scores([Context(events, 0) for events in as_events([prefix])])
    return np.argsort(-line[1:], kind="stable").tolist()  # type: ignore[no-any-return]


def test_popularity_counts_training_clicks_whatever_the_session() -> None:
    assert scores(Popularity(SESSIONS, 5), [1], [4, 4]) == [[0, 2, 3, 2, 1, 0]] * 2


def test_recent_popularity_counts_the_latest_clicks_only() -> None:
    assert scores(RecentPopularity(np.array([1] * 8 + [2, 3]), 3, share=0.2), [1]) == [[0, 0, 1, 1]]


def test_markov_counts_what_came_right_after_the_last_item() -> None:
    # After 1: 2 twice. After 2: 3 once, 4 once. After 3: 2 once.
    chain = markov(SESSIONS, 5)
    assert scores(chain, [1], [1, 2], [3]) == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 1 / 2, 1 / 2, 0], [0, 0, 1, 0, 0, 0]]


def test_sequential_rules_weigh_pairs_by_their_gap_and_look_back_with_decay() -> None:
    rules = SequentialRules(SESSIONS, 5, decay=0.5, normalise=False)
    # 1 -> 2: 1 + 1, 1 -> 3: 1/2; 2 -> 3: 1, 2 -> 4: 1; 3 -> 2: 1, 3 -> 4: 1/2.
    assert scores(rules, [1], [3, 1]) == [
        [0, 0, 2, 1 / 2, 0, 0],
        [0, 0, 2 + 0.5 * 1, 1 / 2, 0.5 * 1 / 2, 0],
    ]


def test_normalised_rules_are_shares_of_what_follows_an_item() -> None:
    rules = SequentialRules(SESSIONS, 5, decay=0.5)
    expected = [0, 0, 2 / 2.5 + 0.5 * 1 / 1.5, 0.5 / 2.5, 0.5 * 0.5 / 1.5, 0]
    assert scores(rules, [3, 1])[0] == pytest.approx(expected, abs=1e-5)


def test_steps_and_lookback_are_limits() -> None:
    near = SequentialRules([np.array([1, 2, 3, 4])], 4, steps=2, lookback=2, decay=1.0, normalise=False)
    assert scores(near, [1], [1, 4, 4]) == [[0, 0, 1, 1 / 2, 0], [0, 0, 0, 0, 0]]


def test_pairs_never_reach_over_the_end_of_a_session() -> None:
    assert scores(markov([np.array([1]), np.array([2])], 2), [1]) == [[0, 0, 0]]


def test_repeats_of_an_item_count_and_unknown_items_do_not() -> None:
    rules = SequentialRules([np.array([1, 1, 2])], 2, decay=0.5, normalise=False)
    assert scores(rules, [1], [0], [], [1, 0]) == [[0, 1, 1.5], [0, 0, 0], [0, 0, 0], [0, 1, 1.5]]


def test_popularity_breaks_ties_and_stands_in_where_nothing_is_counted() -> None:
    # Items 3 and 4 tie after 2, items without any count follow: 2 (three clicks), 1 (two) before 5 (none).
    assert order(markov(SESSIONS, 5), [1, 2]) == [2, 3, 1, 0, 4]
    assert order(markov(SESSIONS, 5), []) == [1, 0, 2, 3, 4]


def test_all_baselines_score_the_whole_catalogue() -> None:
    fitted = fit_baselines(np.concatenate(SESSIONS), SESSIONS, 5)
    assert [scorer.name for scorer in fitted] == [
        "popularity",
        "recent popularity",
        "last-item Markov",
        "sequential rules",
    ]
    assert all(
        scorer.scores([Context(events, 0) for events in as_events([[1], [2]])]).shape == (2, 6) for scorer in fitted
    )
