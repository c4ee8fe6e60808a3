import dataclasses

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import WrongUse
from serving.session import is_new_session
from training.data.clean import Preparation, filter_clicks, prepare, sessionise
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


def test_the_parts_of_a_session_with_inexact_times_are_inexact_too() -> None:
    rows = [("a", "1", 0), ("b", "2", 1), ("a", "3", 500), ("b", "4", 501)]
    log = dataclasses.replace(log_of(rows), inexact=frozenset("a"))
    assert sessionise(log, GAP_MS).inexact == {"a", "a#2"}
    assert sessionise(log, None).inexact == {"a"}
