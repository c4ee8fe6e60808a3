from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from serving.events import Click, decode_click, encode_click
from training.data.log import SCHEMA, make_log

ROWS = st.lists(st.tuples(st.text(min_size=1, max_size=3), st.text(min_size=1, max_size=3), st.integers(0, 5)))


def frame(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"session_id": pl.String, "item_id": pl.String, "timestamp_ms": pl.Int64}, orient="row"
    )


def test_clicks_are_sorted_by_time_and_ties_stay_in_file_order() -> None:
    log = make_log(frame([("a", "1", 9), ("a", "2", 5), ("b", "3", 5), ("a", "4", 5), ("b", "5", 1)]))
    assert log.frame["item_id"].to_list() == ["5", "2", "3", "4", "1"]
    assert log.frame.schema == SCHEMA
    assert log.frame["event_type"].unique().to_list() == ["view"]


@given(ROWS)
def test_sorting_loses_nothing_and_equals_pythons_stable_sort(rows: list[tuple[str, str, int]]) -> None:
    log = make_log(frame(rows))
    assert log.frame.select("session_id", "item_id", "timestamp_ms").rows() == sorted(rows, key=lambda row: row[2])


def test_equal_clicks_have_equal_fingerprints_whatever_the_file() -> None:
    rows = [("a", "1", 1), ("b", "2", 2)]
    assert make_log(frame(rows), name="x").fingerprint == make_log(frame(rows[::-1]), name="y").fingerprint


def test_the_fingerprint_sees_where_one_id_ends_and_the_next_begins() -> None:
    together = make_log(frame([("a", "bc", 1), ("d", "e", 2)]))
    apart = make_log(frame([("ab", "c", 1), ("d", "e", 2)]))
    shifted = make_log(frame([("a", "b", 1), ("d", "ce", 2)]))
    assert len({together.fingerprint, apart.fingerprint, shifted.fingerprint}) == 3


@given(ROWS, ROWS)
def test_different_clicks_have_different_fingerprints(
    left: list[tuple[str, str, int]], right: list[tuple[str, str, int]]
) -> None:
    one, other = make_log(frame(left)), make_log(frame(right))
    assert (one.fingerprint == other.fingerprint) == one.frame.equals(other.frame)


def test_a_missing_user_is_not_an_empty_user() -> None:
    rows = frame([("a", "1", 1)])
    empty = rows.with_columns(pl.lit("").alias("user_id"))
    assert make_log(rows).fingerprint != make_log(empty).fingerprint


def test_clicks_become_events_with_ids_of_their_own_that_a_second_pass_repeats() -> None:
    log = make_log(frame([("a", "1", 1), ("a", "1", 1), ("b", "2", 2)]))
    clicks = list(log.clicks())
    assert [(c.session_id, c.item_id, c.timestamp_ms, c.event_type) for c in clicks] == [
        ("a", "1", 1, "view"),
        ("a", "1", 1, "view"),
        ("b", "2", 2, "view"),
    ]
    assert len({c.event_id for c in clicks}) == 3
    assert clicks == list(log.clicks())
    assert [decode_click(encode_click(c)) for c in clicks] == clicks
    assert isinstance(clicks[0], Click)


def test_the_summary_counts() -> None:
    summary = make_log(frame([("a", "1", 3), ("a", "2", 7), ("b", "2", 5)]), name="three").summary()
    assert summary["rows"] == 3
    assert summary["sessions"] == 2
    assert summary["items"] == 2
    assert (summary["first_timestamp_ms"], summary["last_timestamp_ms"]) == (3, 7)
    assert summary["name"] == "three"


def test_in_log_order_a_late_click_stays_where_it_came_in_its_session() -> None:
    rows = [("a", "1", 9), ("a", "2", 5), ("b", "3", 7), ("a", "4", 10), ("b", "5", 1)]
    log = make_log(frame(rows), log_order=True)
    assert log.frame["item_id"].to_list() == ["3", "5", "1", "2", "4"]
    assert log.frame["timestamp_ms"].to_list() == [7, 1, 9, 5, 10]
    assert (log.summary()["first_timestamp_ms"], log.summary()["last_timestamp_ms"]) == (1, 10)


@given(ROWS)
def test_in_log_order_every_session_reads_as_the_file_does_and_parts_of_the_log_too(
    rows: list[tuple[str, str, int]],
) -> None:
    log = make_log(frame(rows), log_order=True)
    found = log.frame.select("session_id", "item_id", "timestamp_ms").rows()
    for session in {row[0] for row in rows}:
        assert [row for row in found if row[0] == session] == [row for row in rows if row[0] == session]
    assert log.with_frame(log.frame.slice(1)).frame.rows() == log.frame.rows()[1:]
    if all(first[2] <= second[2] for first, second in pairwise(rows)):
        assert found == rows


def test_the_summary_says_from_where_the_clicks_were_exported() -> None:
    export = {"topic": "clicks", "cluster_id": "c", "partitions": {"0": {"first": 3, "last": 7}}}
    log = make_log(frame([("a", "1", 3)]), exports=[export])
    assert log.with_frame(log.frame).summary()["exports"] == [export]
    assert "exports" not in make_log(frame([])).summary()
