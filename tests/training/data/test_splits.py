import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import WrongUse
from training.data.log import ClickLog, make_log
from training.data.splits import (
    DAY_MS,
    Protocol,
    Split,
    first_clicks,
    last_days,
    last_share,
    leave_one_out,
    parse_protocol,
    split,
    whole,
    without_unknown,
)
from training.errors import DataError

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


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("next-item", Protocol("next-item")),
        ("next-item:0.2", Protocol("next-item", 0.2)),
        ("last-day", Protocol("last-days", 1.0)),
        ("last-days:7", Protocol("last-days", 7.0)),
        ("leave-one-out", Protocol("leave-one-out")),
    ],
)
def test_protocols_have_names_that_are_read_back(text: str, protocol: Protocol) -> None:
    assert parse_protocol(text) == protocol
    assert parse_protocol(str(protocol)) == protocol


@pytest.mark.parametrize(
    "text", ["", "random", "next-item:2", "next-item:x", "last-days", "last-days:-1", "leave-one-out:3"]
)
def test_other_protocols_are_a_wrong_use(text: str) -> None:
    with pytest.raises(WrongUse, match="there is no protocol"):
        parse_protocol(text)


def test_a_log_too_small_for_its_protocol_is_an_error_with_counts() -> None:
    log = log_of([("a", "1", 0), ("a", "2", 1)])
    with pytest.raises(DataError, match="2 clicks in 1 sessions: leave-one-out leaves 2 to learn from and 0 to pred"):
        split(log, parse_protocol("leave-one-out"))
