import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.scoreboard import Scoreboard
from deploy.demo.spotlight import MIN_CLICKS, Spotlight, followed_sessions
from serving.events import Click, Reason, Recommendation, RecommendedItem

CLICKS = [
    Click("e0", "a", "i1", 0),
    Click("e1", "b", "i2", 1),
    Click("e2", "a", "i3", 2),
    Click("e3", "a", "i4", 3),
]


def shown(event_id: str, *items: str, identity: str | None = None) -> Recommendation:
    session = next(click.session_id for click in CLICKS if click.event_id == event_id)
    listed = [RecommendedItem(item, 0.0, Reason("session", [])) for item in items]
    return Recommendation(identity or f"r-{event_id}", session, event_id, "b", "0", 0, "encoder", listed)


def test_a_hit_is_a_click_on_an_item_of_the_list_shown_just_before_in_its_session() -> None:
    board = Scoreboard(CLICKS, {"popular": frozenset({"e3"})})
    for second, click in enumerate(CLICKS):
        board.sent(click, second)
    board.received(shown("e0", "i3"), 10)
    board.received(shown("e1", "i4"), 10)
    board.received(shown("e2", "i1"), 10)  # i3 was shown: a hit; popular had not
    board.received(shown("e3"), 10)  # i4 was not shown in session a, only in b; popular had it
    standing = board.standing()
    assert standing.cases == 2
    assert standing.hit_rates == {"nextclick": 1 / 2, "popular": 1 / 2}


def test_copies_of_a_list_count_as_received_and_for_nothing_else() -> None:
    board = Scoreboard(CLICKS, {})
    board.sent(CLICKS[0], 1.0)
    board.received(shown("e0", "i3"), 1.002)
    board.received(shown("e0", "i3"), 9.0)
    standing = board.standing()
    assert (standing.received, standing.distinct, standing.answered) == (2, 1, 1)
    assert standing.latency_ms["p99"] == pytest.approx(2.0)


def test_another_id_for_the_same_click_is_seen() -> None:
    board = Scoreboard(CLICKS, {})
    board.received(shown("e0", "i3"), 0)
    board.received(shown("e0", "i3", identity="other"), 0)
    assert (board.standing().distinct, board.standing().answered) == (2, 1)


def test_before_the_first_list_there_are_no_latencies() -> None:
    assert Scoreboard(CLICKS, {}).standing().latency_ms == {"p50": None, "p95": None, "p99": None}


@given(st.lists(st.integers(0, 4), max_size=60))
def test_followed_sessions_never_overlap_and_are_long_enough(order: list[int]) -> None:
    clicks = [Click(f"e{n}", f"s{session}", "i", n) for n, session in enumerate(order)]
    spans = []
    for session in followed_sessions(clicks):
        positions = [n for n, click in enumerate(clicks) if click.session_id == session]
        assert len(positions) >= MIN_CLICKS
        spans.append((positions[0], positions[-1]))
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_the_spotlight_shows_which_clicks_were_in_the_list_and_what_is_new() -> None:
    clicks = [Click(f"e{n}", "a", f"i{n}", n) for n in range(4)]
    spotlight = Spotlight(clicks)
    listed = [RecommendedItem(item, 0.0, Reason("session", [])) for item in ("i1", "i9")]
    spotlight.received(Recommendation("r", "a", "e0", "b", "0", 0, "encoder", listed), 2.0)
    spotlight.received(Recommendation("r", "a", "e1", "b", "0", 0, "encoder", listed[1:]), 3.0)
    assert spotlight.now is not None
    assert spotlight.now.clicked == ["i0", "i1"]
    assert spotlight.now.hits == [False, True]
    assert spotlight.now.new == frozenset()
