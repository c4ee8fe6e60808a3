import dataclasses

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from training.data.cuts import (
    DAY_MS,
    Split,
    first_clicks,
    from_time,
    last_days,
    last_share,
    leave_one_out,
    period,
    session_ratio,
    whole,
    with_sessions,
    without_unknown,
)
from training.data.log import ClickLog, make_log

ROWS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), st.integers(0, 9)), min_size=1)


def log_of(rows: list[tuple[str, str, int]]) -> ClickLog:
    schema = {"session_id": pl.String, "item_id": pl.String, "timestamp_ms": pl.Int64}
    return make_log(pl.DataFrame(rows, schema=schema, orient="row"))


def rows_of(log: ClickLog) -> list[tuple[str, str, int]]:
    return log.frame.select("session_id", "item_id", "timestamp_ms").rows()


def sessions(log: ClickLog) -> set[str]:
    return set(log.frame["session_id"])


def check_whole_sessions(log: ClickLog, parts: Split) -> None:
    before, after = parts.before, parts.held_out.log
    assert not sessions(before) & sessions(after)
    assert sorted(rows_of(before) + rows_of(after)) == sorted(rows_of(log))
    held = sessions(after)
    assert rows_of(after) == [row for row in rows_of(log) if row[0] in held]
    assert rows_of(before) == [row for row in rows_of(log) if row[0] not in held]
    assert parts.held_out.targets.all()


@given(ROWS, st.floats(0.01, 0.99))
def test_the_last_share_holds_whole_sessions_out_loses_nothing_and_keeps_the_order(
    rows: list[tuple[str, str, int]], share: float
) -> None:
    log = log_of(rows)
    parts = last_share(log, share)
    check_whole_sessions(log, parts)
    assert parts.held_out.log.sessions == max(1, round(share * log.sessions))


@given(ROWS, st.floats(0.5, 8))
def test_the_last_days_hold_whole_sessions_out_and_leave_no_later_click_to_training(
    rows: list[tuple[str, str, int]], days: float
) -> None:
    log = log_of([(session, item, day * DAY_MS) for session, item, day in rows])
    parts = last_days(log, days)
    check_whole_sessions(log, parts)
    cut = log.frame["timestamp_ms"][-1] - days * DAY_MS
    assert all(time <= cut for _, _, time in rows_of(parts.before))


def test_a_session_over_the_cut_is_held_out() -> None:
    log = log_of([("a", "1", 0), ("b", "2", 1), ("a", "3", 2 * DAY_MS), ("c", "4", 3 * DAY_MS)])
    assert sessions(last_days(log, 1.5).held_out.log) == {"a", "c"}


@given(ROWS)
def test_leave_one_out_takes_the_last_click_of_every_session_of_three(rows: list[tuple[str, str, int]]) -> None:
    log = log_of(rows)
    parts = leave_one_out(log)
    held = parts.held_out
    targets = rows_of(held.log.with_frame(held.log.frame.filter(pl.Series(held.targets))))
    assert sorted(rows_of(parts.before) + targets) == sorted(rows_of(log))
    by_session: dict[str, list[tuple[str, str, int]]] = {}
    for row in rows_of(log):
        by_session.setdefault(row[0], []).append(row)
    long = {session: clicks for session, clicks in by_session.items() if len(clicks) >= 3}
    assert sorted(targets) == sorted(clicks[-1] for clicks in long.values())
    assert sorted(rows_of(held.log)) == sorted(row for clicks in long.values() for row in clicks)
    assert held.cases == len(long)


def test_cases_are_targets_that_are_not_the_first_of_their_session() -> None:
    log = log_of([("a", "1", 0), ("b", "2", 1), ("a", "3", 2), ("a", "4", 3)])
    assert first_clicks(log.frame).tolist() == [True, True, False, False]
    assert whole(log).cases == 2


def test_clicks_on_unknown_items_can_be_dropped_from_the_test() -> None:
    held = whole(log_of([("a", "1", 0), ("b", "new", 1), ("a", "new", 2), ("a", "2", 3)]))
    known = without_unknown(held, pl.Series(["1", "2"]))
    assert rows_of(known.log) == [("a", "1", 0), ("a", "2", 3)]
    assert (held.cases, known.cases) == (2, 1)
    assert known.targets.dtype == np.bool_


def test_short_sessions_can_be_left_out_of_the_test() -> None:
    held = whole(log_of([("a", "1", 0), ("b", "2", 1), ("a", "2", 2), ("c", "3", 3)]))
    assert rows_of(with_sessions(held, 2).log) == [("a", "1", 0), ("a", "2", 2)]
    assert with_sessions(held, 1).log.frame.equals(held.log.frame)


@given(ROWS, st.integers(1, 9), st.integers(1, 9))
def test_a_ratio_takes_the_sessions_that_begin_last(rows: list[tuple[str, str, int]], before: int, after: int) -> None:
    log = log_of(rows)
    parts = session_ratio(log, before, after)
    check_whole_sessions(log, parts)
    begun = list(dict.fromkeys(session for session, _, _ in rows_of(log)))
    assert sessions(parts.before) == set(begun[: len(begun) * before // (before + after)])


def test_ten_sessions_are_cut_eight_to_one_to_one() -> None:
    log = log_of([(f"s{n}", item, 10 * n + place) for n in range(10) for place, item in enumerate("xy")])
    outer = session_ratio(log, 9, 1)
    inner = session_ratio(outer.before, 8, 1)
    assert sessions(outer.held_out.log) == {"s9"}
    assert sessions(inner.held_out.log) == {"s8"}
    assert inner.before.sessions == 8


@given(ROWS, st.integers(0, 10))
def test_a_time_cut_goes_through_sessions_and_no_click_is_on_both_sides(
    rows: list[tuple[str, str, int]], cut: int
) -> None:
    log = log_of(rows)
    parts = from_time(log, cut)
    held = parts.held_out
    targets = rows_of(log.with_frame(held.log.frame.filter(pl.Series(held.targets))))
    assert rows_of(parts.before) == [row for row in rows_of(log) if row[2] < cut]
    assert targets == [row for row in rows_of(log) if row[2] >= cut]
    going_on = {session for session, _, _ in targets}
    assert rows_of(held.log) == [row for row in rows_of(log) if row[0] in going_on]


def test_a_session_over_a_time_cut_is_learned_up_to_it_and_predicted_from_it_on() -> None:
    log = log_of([("a", "1", 0), ("b", "2", 1), ("a", "3", 2), ("c", "4", 3), ("a", "5", 4)])
    parts = from_time(log, 2)
    assert rows_of(parts.before) == [("a", "1", 0), ("b", "2", 1)]
    assert rows_of(parts.held_out.log) == [("a", "1", 0), ("a", "3", 2), ("c", "4", 3), ("a", "5", 4)]
    assert parts.held_out.targets.tolist() == [False, True, True, True]
    assert parts.held_out.cases == 2


@given(ROWS, st.integers(0, 9), st.integers(0, 9))
def test_a_period_has_the_sessions_that_end_in_it_and_leaves_later_ones_out(
    rows: list[tuple[str, str, int]], begin: int, length: int
) -> None:
    log = log_of(rows)
    parts = period(log, begin, begin + length)
    ends: dict[str, int] = {}
    for session, _, time in rows_of(log):
        ends[session] = max(time, ends.get(session, 0))
    assert rows_of(parts.before) == [row for row in rows_of(log) if ends[row[0]] <= begin]
    assert rows_of(parts.held_out.log) == [row for row in rows_of(log) if begin < ends[row[0]] <= begin + length]


def test_sessions_with_inexact_times_are_held_out_but_not_tested() -> None:
    clicks = [(session, item, time) for time, item in enumerate("xyz") for session in "ab"]
    log = dataclasses.replace(log_of(clicks), inexact=frozenset("b"))
    parts = leave_one_out(log, exact=True)
    assert rows_of(parts.before) == [row for row in clicks if row[2] < 2]
    assert sessions(parts.held_out.log) == {"a"}
    assert parts.held_out.cases == 1
    assert leave_one_out(log).held_out.cases == 2
