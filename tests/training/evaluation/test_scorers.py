import numpy as np

from tests.training.conftest import as_contexts, as_rows
from training.counters import MARKOV, fit_sequential_rules
from training.data.sequences import popularity
from training.evaluation.scorers import CounterScorer, Scorer, fit_baselines

SESSIONS = as_rows([[1, 2, 3], [1, 2], [4, 2, 3], [4, 2, 4]])


def order(scorer: Scorer, prefix: list[int]) -> list[int]:
    (line,) = scorer.scores(as_contexts([prefix]))
    return (np.argsort(-line[1:], kind="stable") + 1).tolist()  # type: ignore[no-any-return]


def test_popularity_parts_equal_votes_and_stands_in_where_there_are_none() -> None:
    chain = CounterScorer("chain", fit_sequential_rules(SESSIONS, 5, MARKOV), popularity(SESSIONS, 5))
    # After 2: 3 twice, 4 once. After 4: 2 alone; then those without a vote: 4 (three clicks), 1 and 3 (two), 5 (none).
    assert order(chain, [1, 2]) == [3, 4, 2, 1, 5]
    assert order(chain, [4]) == [2, 4, 1, 3, 5]
    assert order(chain, []) == order(chain, [0]) == [2, 4, 1, 3, 5]


def test_an_unknown_event_takes_a_place_of_the_window_as_in_a_worker() -> None:
    chain = CounterScorer("chain", fit_sequential_rules(SESSIONS, 5, MARKOV), popularity(SESSIONS, 5))
    assert order(chain, [1, 2, 0]) == order(chain, [0])


def test_of_equal_votes_the_item_that_is_clicked_more_stands_first() -> None:
    sessions = as_rows([[1, 2], [1, 3], [3, 4]])
    chain = CounterScorer("chain", fit_sequential_rules(sessions, 4, MARKOV), popularity(sessions, 4))
    # After 1: 2 once, and 3 once, which has one more click.
    assert order(chain, [1]) == [3, 2, 1, 4]


def test_a_vote_however_small_is_worth_more_than_any_popularity() -> None:
    sessions = as_rows([[1, 2]] * 1000 + [[3, *([2] * 999), 4]])
    rules = CounterScorer("rules", fit_sequential_rules(sessions, 4, MARKOV), popularity(sessions, 4))
    assert order(rules, [2])[:2] == [2, 4]


def test_recent_popularity_counts_the_latest_tenth_of_the_clicks() -> None:
    clicks = np.array([1] * 18 + [2, 3])
    recent = fit_baselines(clicks, [clicks], 4)[1].scores(as_contexts([[1]]))
    assert recent[0, 2] == recent[0, 3] > 0
    assert recent[0, 1] == recent[0, 4] < 0


def test_all_baselines_score_the_whole_catalogue() -> None:
    fitted = fit_baselines(np.concatenate(SESSIONS), SESSIONS, 5)
    assert [scorer.name for scorer in fitted] == [
        "popularity",
        "recent popularity",
        "last-item Markov",
        "sequential rules",
    ]
    assert all(scorer.scores(as_contexts([[1], [2]])).shape == (2, 6) for scorer in fitted)
