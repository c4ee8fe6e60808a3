import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.counters import Votes
from serving.counters.arrays import Recent, group, newest, offsets, spread
from serving.counters.votes import Voters, tally

# Two sessions: the first has votes for rows 2, 3 and 7, of which 2 and 7 tie; the second has none; the third has one.
VOTES = Votes(
    np.array([0, 3, 3, 4]), np.array([2, 3, 7, 1]), np.array([0.5, 2, 0.5, 1e-30], np.float32), np.array([5, 6, 5, 9])
)


def test_the_best_come_first_and_ties_go_by_row() -> None:
    scores, rows = VOTES.top(2)
    assert rows.tolist() == [[3, 2], [0, 0], [1, 0]]
    assert scores.tolist() == [[2, 0.5], [0, 0], [np.float32(1e-30), 0]]
    assert VOTES.top(4)[1].tolist() == [[3, 2, 7, 0], [0] * 4, [1, 0, 0, 0]]


def test_candidates_are_looked_up() -> None:
    found = VOTES.of(np.array([[7, 4, 3], [3, 2, 1], [0, 9, 1]]))
    assert found.tolist() == [[0.5, 0, 2], [0, 0, 0], [0, 0, np.float32(1e-30)]]


def test_voters_are_looked_up() -> None:
    found = VOTES.voters_of(np.array([[7, 4, 3], [3, 2, 1], [0, 9, 1]]))
    assert found.tolist() == [[5, 0, 6], [0, 0, 0], [0, 0, 9]]
    assert Votes.join([]).voters_of(np.zeros((0, 2), np.int64)).shape == (0, 2)


def test_what_is_weighed_down_to_nothing_is_no_vote() -> None:
    weights = np.array([1, 1e-30, 2, 0, 1, 1, 1, 3], np.float32)
    weighed = VOTES.times(weights)
    assert weighed.begin.tolist() == [0, 2, 2, 2]
    assert (weighed.rows.tolist(), weighed.scores.tolist(), weighed.voters.tolist()) == ([2, 7], [1.0, 1.5], [5, 5])
    assert weighed.top(3)[1].tolist() == [[7, 2, 0], [0] * 3, [0] * 3]


def test_votes_are_spread_over_the_catalogue() -> None:
    assert VOTES.dense(8).nonzero()[0].tolist() == [0, 0, 0, 2]
    assert VOTES.dense(8)[0].tolist() == [0, 0, 0.5, 2, 0, 0, 0, 0.5, 0]


def test_parts_are_joined_in_their_order() -> None:
    joined = Votes.join([VOTES, VOTES])
    assert joined.dense(8).tolist() == [*VOTES.dense(8).tolist(), *VOTES.dense(8).tolist()]
    assert len(Votes.join([])) == 0


# Who votes, with which of its three items, for what, and how strongly.
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(1, 9), st.floats(1e-6, 1e6)), max_size=60)
RECENT = Recent(offsets(np.array([3] * 5)), np.arange(1, 16))


@given(PAIRS, st.sampled_from([9, 10_000]), st.integers(1, 12))
def test_a_tally_is_what_a_dictionary_counts(pairs: list[tuple[int, int, int, float]], items: int, k: int) -> None:
    # 9 items are counted in an array, 10,000 by sorting.
    session, age, rows = (np.array([pair[place] for pair in pairs], np.int64) for place in range(3))
    votes = tally(RECENT, Voters(session, age), rows, np.array([weight for *_, weight in pairs]), items)
    expected: list[dict[int, float]] = [{} for _ in range(5)]
    newest_of: dict[tuple[int, int], int] = {}
    for owner, place, row, weight in pairs:
        expected[owner][row] = expected[owner].get(row, 0.0) + weight
        newest_of[owner, row] = min(newest_of.get((owner, row), 3), place)
    for owner, counted in enumerate(expected):
        part = slice(votes.begin[owner], votes.begin[owner + 1])
        assert votes.rows[part].tolist() == sorted(counted)
        assert votes.scores[part].tolist() == [np.float32(counted[row]) for row in sorted(counted)]
        assert votes.voters[part].tolist() == [1 + 3 * owner + newest_of[owner, row] for row in sorted(counted)]
        best = sorted(counted, key=lambda row: (-np.float32(counted[row]), row))[:k]
        assert votes.top(k)[1][owner].tolist() == best + [0] * (k - len(best))


def test_what_is_too_small_for_a_float32_is_no_vote() -> None:
    voters = Voters(np.array([0, 0]), np.array([0, 0]))
    votes = tally(newest([np.array([3])], 1), voters, np.array([1, 2]), np.array([1e-60, 1.0]), 3)
    assert votes.rows.tolist() == [2]


def test_the_newest_items_come_first_and_unknown_events_take_a_place() -> None:
    recent = newest([np.array([1, 2, 0, 3, 0]), np.array([0]), np.array([4]), np.array([5, 0, 0, 0])], 3)
    assert recent.rows.tolist() == [3, 4]
    assert recent.session.tolist() == [0, 2]
    recent = newest([np.array([1, 2, 0, 3, 0]), np.array([4])], 4)
    assert recent.rows.tolist() == [3, 2, 4]
    assert recent.age.tolist() == [0, 1, 0]


@given(st.lists(st.integers(0, 400_000), max_size=30))
def test_sessions_are_cut_into_parts_without_loss(costs: list[int]) -> None:
    recent = newest([np.arange(1, 1 + number % 3) for number in range(len(costs))], 5)
    parts = list(recent.parts(np.array(costs, np.int64)[recent.session]))
    assert np.concatenate([part.rows for part in parts] or [recent.rows]).tolist() == recent.rows.tolist()
    assert [size for part in parts for size in part.sizes.tolist()] == recent.sizes.tolist()


@given(st.lists(st.integers(0, 5), max_size=20), st.sampled_from([6, 2**62]))
def test_equal_keys_come_together_in_their_order(keys: list[int], limit: int) -> None:
    order, first = group(np.array(keys, np.int64), limit)
    assert order.tolist() == sorted(range(len(keys)), key=lambda place: keys[place])
    assert first.tolist() == [i == 0 or keys[order[i]] != keys[order[i - 1]] for i in range(len(keys))]


def test_lists_are_spread() -> None:
    assert spread(np.array([7, 2, 5]), np.array([3, 1, 0])).tolist() == [7, 8, 9, 2]
    assert spread(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []
