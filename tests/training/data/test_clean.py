import dataclasses
import math
from itertools import groupby

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import WrongUse
from serving.events import Click
from serving.session import SessionState, is_new_session
from training.data.clean import MINUTE_MS, Preparation, filter_clicks, prepare, sessionise
from training.data.log import ClickLog, make_log

GAP_MS = 100
ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 1000)), max_size=40)


def log_of(rows: list[tuple[str, str, int]], *, timed: bool = True, by_user: bool = False) -> ClickLog:
    schema = {"session_id": pl.String, "item_id": pl.String, "timestamp_ms": pl.Int64}
    return make_log(pl.DataFrame(rows, schema=schema, orient="row"), timed=timed, by_user=by_user)


def sessions_of(log: ClickLog) -> dict[str, str]:
    return {
        session: "".join(items)
        for session, items in log.frame.group_by("session_id", maintain_order=True).agg("item_id").iter_rows()
    }


def test_a_session_is_cut_after_a_silence_longer_than_the_gap_and_not_at_the_gap_itself() -> None:
    rows = [("a", "1", 0), ("a", "2", 100), ("b", "9", 150), ("a", "3", 201), ("a", "4", 202), ("a", "5", 303)]
    assert sessions_of(sessionise(log_of(rows), GAP_MS)) == {"a": "12", "b": "9", "a#2": "34", "a#3": "5"}


def test_a_part_never_takes_the_name_of_a_session_that_is_there() -> None:
    rows = [("a", "1", 0), ("a#2", "8", 1), ("a##2", "9", 2), ("a", "2", 500), ("a#2", "7", 501)]
    parts = {"a": "1", "a#2": "8", "a##2": "9", "a###2": "2", "a#2###2": "7"}
    assert sessions_of(sessionise(log_of(rows), GAP_MS)) == parts


@given(ROWS)
def test_sessions_are_cut_where_serving_would_begin_a_new_one(rows: list[tuple[str, str, int]]) -> None:
    log = log_of(rows)
    parts: dict[str, int] = {}
    last: dict[str, int] = {}
    expected = []
    for session, item, time in log.frame.select("session_id", "item_id", "timestamp_ms").iter_rows():
        new = session in last and is_new_session(last[session], time, GAP_MS)
        parts[session] = parts.get(session, 1) + new
        last[session] = time
        expected.append((session if parts[session] == 1 else f"{session}#{parts[session]}", item, time))
    cut = sessionise(log, GAP_MS)
    assert cut.frame.select("session_id", "item_id", "timestamp_ms").rows() == expected


def test_the_gap_is_servings_own_unless_sessions_are_users_or_the_log_has_no_times() -> None:
    assert Preparation().gap_ms(log_of([])) == 1800 * 1000
    assert Preparation().gap_ms(log_of([], by_user=True)) is None
    assert Preparation().gap_ms(log_of([], timed=False)) is None
    assert Preparation(session_gap_s=60).gap_ms(log_of([], by_user=True)) == 60 * 1000
    assert Preparation(session_gap_s=None).gap_ms(log_of([])) is None


@pytest.mark.parametrize("gap_s", [0, -5, math.nan])
def test_a_gap_that_is_no_time_is_a_wrong_use(gap_s: float) -> None:
    with pytest.raises(WrongUse, match=f"session_gap_s must be above 0, not {gap_s}"):
        Preparation(session_gap_s=gap_s)


def test_a_gap_without_end_is_a_wrong_use_that_says_how_to_cut_nothing() -> None:
    with pytest.raises(WrongUse, match="must be a finite number of seconds, not inf; none is what cuts nothing"):
        Preparation(session_gap_s=math.inf)


def test_a_gap_for_a_log_without_times_is_a_wrong_use() -> None:
    with pytest.raises(WrongUse, match="no session gap can cut it, not 60 s"):
        Preparation(session_gap_s=60).gap_ms(log_of([], timed=False))


def test_filters_look_at_items_then_at_sessions_once_or_until_nothing_more_falls() -> None:
    rows = [("a", "1", 0), ("a", "2", 1), ("b", "1", 2), ("b", "3", 3), ("c", "2", 4), ("c", "2", 5)]
    # Item 3 falls (one click), then session b (one click left), which leaves item 1 with one click, then session a.
    once = Preparation(min_item_support=2, min_session_length=2)
    assert sessions_of(filter_clicks(log_of(rows), once)) == {"a": "12", "c": "22"}
    iterative = Preparation(min_item_support=2, min_session_length=2, iterative=True)
    assert sessions_of(filter_clicks(log_of(rows), iterative)) == {"c": "22"}


def test_only_exact_repetitions_are_duplicates() -> None:
    rows = [("a", "1", 0), ("a", "1", 0), ("a", "1", 1), ("b", "1", 0)]
    kept = prepare(log_of(rows), Preparation(drop_duplicates=True))
    assert sorted(kept.frame.select("session_id", "timestamp_ms").rows()) == [("a", 0), ("a", 1), ("b", 0)]


def test_nothing_is_filtered_unless_asked_for() -> None:
    rows = [("a", "1", 0), ("a", "1", 0), ("b", "2", 5)]
    assert len(prepare(log_of(rows), Preparation())) == 3


def bots_by_hand(rows: list[tuple[str, str, int]], most: int, repeats: int, run: int) -> set[str]:
    """The sessions that break a limit, click by click."""
    bots = set()
    for session in {row[0] for row in rows}:
        clicks = sorted((row for row in rows if row[0] == session), key=lambda row: row[2])
        items, times = [click[1] for click in clicks], [click[2] for click in clicks]
        in_a_minute = max(sum(time - MINUTE_MS < other <= time for other in times) for time in times)
        in_a_row = max(len(list(group)) for _, group in groupby(items))
        if in_a_minute > most or max(map(items.count, items)) > repeats or in_a_row > run:
            bots.add(session)
    return bots


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 9).map(lambda t: t * 20_000))),
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3),
)  # fmt: skip
def test_sessions_that_break_a_limit_are_left_out_whole_and_counted(
    rows: list[tuple[str, str, int]], most: int, repeats: int, run: int
) -> None:
    log = log_of(rows)
    limits = Preparation(max_events_per_minute=most, max_item_repeats=repeats, max_item_run=run)
    bots = bots_by_hand(log.frame.select("session_id", "item_id", "timestamp_ms").rows(), most, repeats, run)
    kept = filter_clicks(log, limits)
    assert kept.frame.rows() == [row for row in log.frame.rows() if row[0] not in bots]
    assert (kept.bot_sessions, kept.bot_clicks) == (len(bots), len(log) - len(kept))


def test_a_program_is_told_from_a_person_and_the_report_says_what_was_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crawler = [("crawler", str(i), 999 * i) for i in range(61)]
    person = [("person", str(i), 1000 * i) for i in range(60)]
    kept = filter_clicks(log_of(crawler + person), Preparation(max_events_per_minute=60))
    assert set(kept.frame["session_id"]) == {"person"}
    assert "1 sessions with 61 clicks have more than 60 events in a minute; they are left out" in caplog.text
    assert kept.summary()["bots"] == {"sessions": 1, "clicks": 61}
    assert "bots" not in filter_clicks(log_of(person), Preparation(max_events_per_minute=60)).summary()


def test_repeats_in_a_row_and_in_all_are_two_limits() -> None:
    rows = [("row", "1", 0), ("row", "1", 1), ("row", "2", 2), ("all", "1", 3), ("all", "2", 4), ("all", "1", 5)]
    assert sessions_of(filter_clicks(log_of(rows), Preparation(max_item_run=1))) == {"all": "121"}
    assert sessions_of(filter_clicks(log_of(rows), Preparation(max_item_repeats=1))) == {}


def test_limits_that_mean_nothing_are_a_wrong_use() -> None:
    with pytest.raises(WrongUse, match="max_item_run must be at least 1, not 0"):
        Preparation(max_item_run=0)
    with pytest.raises(WrongUse, match="clicks has no times, so it has no events per minute"):
        filter_clicks(log_of([("a", "1", 0)], timed=False), Preparation(max_events_per_minute=60))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 400)), min_size=1, max_size=30))
def test_a_log_in_the_order_of_the_stream_is_cut_as_the_stream_cuts(clicks: list[tuple[str, int]]) -> None:
    rows = [(session, f"i{place}", time) for place, (session, time) in enumerate(clicks)]
    frame = pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp_ms"], orient="row")
    cut = sessionise(make_log(frame, log_order=True), GAP_MS)
    states: dict[str, SessionState] = {}
    parts: dict[str, list[str]] = {}
    for session, item, time in rows:
        state = states.setdefault(session, SessionState())
        state.fold(Click(item, session, item, time), time, length=100, gap_ms=GAP_MS)
        begun = parts.setdefault(session, [])
        if state.count == 1:
            begun.append("")
        begun[-1] += item
    expected = {
        session if number == 1 else f"{session}#{number}": part
        for session, begun in parts.items()
        for number, part in enumerate(begun, start=1)
    }
    assert sessions_of(cut) == expected


def test_the_parts_of_a_session_with_inexact_times_are_inexact_too() -> None:
    rows = [("a", "1", 0), ("b", "2", 1), ("a", "3", 500), ("b", "4", 501)]
    log = dataclasses.replace(log_of(rows), inexact=frozenset("a"))
    assert sessionise(log, GAP_MS).inexact == {"a", "a#2"}
    assert sessionise(log, None).inexact == {"a"}
