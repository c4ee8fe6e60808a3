import dataclasses
import itertools

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.errors import WrongUse
from training.data.cuts import DAY_MS, HeldOut, Split
from training.data.log import ClickLog, make_log
from training.data.protocol import Conventions, Protocol, parse_protocol
from training.data.splits import cycles, split, split_validation
from training.errors import DataError

NAMES = [
    "next-item",
    "next-item:0.4",
    "last-days:3",
    "last-week",
    "ratio:8-1-1",
    "time:0.7",
    "time:1970-01-12",
    "leave-one-out",
    "leave-one-out-exact",
    "rolling-days:5/4",
    "rolling-days:5/5",
    "ader:2/1",
    "ader:2/2",
]

ROWS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz"), st.integers(0, 20)), min_size=6)


def log_of(rows: list[tuple[str, str, int]]) -> ClickLog:
    """Clicks on days, each at a time of its own."""
    frame = pl.DataFrame(rows, schema=["session_id", "item_id", "day"], orient="row").with_row_index("place")
    times = frame.select("session_id", "item_id", (pl.col("day") * DAY_MS + pl.col("place")).alias("timestamp_ms"))
    return dataclasses.replace(make_log(times), inexact=frozenset("a"))


def times_of(log: ClickLog) -> set[int]:
    return set(log.frame["timestamp_ms"])


def targets_of(held_out: HeldOut) -> set[int]:
    return set(held_out.log.frame.filter(pl.Series(held_out.targets))["timestamp_ms"])


def try_split(log: ClickLog, protocol: Protocol) -> tuple[Split, Split]:
    """Test and validation, where the log is long enough for both."""
    try:
        outer = split(log, protocol)
        return outer, split_validation(outer.before, protocol, outer.begin_ms)
    except DataError:
        assume(False)
        raise


@given(ROWS, st.sampled_from(NAMES))
def test_training_validation_and_test_share_no_target(rows: list[tuple[str, str, int]], name: str) -> None:
    log = log_of(rows)
    outer, inner = try_split(log, parse_protocol(name))
    assert not times_of(outer.before) & targets_of(outer.held_out)
    assert not times_of(inner.before) & targets_of(inner.held_out)
    assert times_of(inner.before) | times_of(inner.held_out.log) <= times_of(outer.before)
    assert times_of(outer.before) | times_of(outer.held_out.log) <= times_of(log)


@given(ROWS, st.sampled_from(NAMES))
def test_no_item_of_the_test_reaches_training(rows: list[tuple[str, str, int]], name: str) -> None:
    log, protocol = log_of(rows), parse_protocol(name)
    outer, inner = try_split(log, protocol)
    tested = pl.col("timestamp_ms").is_in(list(targets_of(outer.held_out)))
    other = log.with_frame(
        log.frame.with_columns(pl.when(tested).then(pl.lit("new")).otherwise("item_id").alias("item_id"))
    )
    assert split(other, protocol).before.fingerprint == outer.before.fingerprint
    again = split_validation(split(other, protocol).before, protocol, outer.begin_ms)
    assert again.before.fingerprint == inner.before.fingerprint
    assert again.held_out.log.fingerprint == inner.held_out.log.fingerprint


BY_TIME = [name for name in NAMES if name.partition(":")[0] not in ("ratio", "leave-one-out", "leave-one-out-exact")]


@given(ROWS, st.sampled_from(BY_TIME))
def test_no_training_click_is_later_than_the_last_held_out_one(rows: list[tuple[str, str, int]], name: str) -> None:
    outer, _ = try_split(log_of(rows), parse_protocol(name))
    assert max(times_of(outer.before)) < max(targets_of(outer.held_out))
    if outer.begin_ms is not None:
        assert max(times_of(outer.before)) <= outer.begin_ms


@given(ROWS, st.sampled_from(["rolling-days:5", "ader:3"]))
def test_each_cycle_trains_on_all_that_the_cycles_before_it_tested(rows: list[tuple[str, str, int]], name: str) -> None:
    # A session on every day, so that no cycle is empty.
    filled = [*((f"s{day}", item, day) for day in range(42) for item in "xy"), *rows]
    log = log_of(filled)
    found = list(cycles(log, parse_protocol(name)))
    assert [str(one) for one, _ in found] == [f"{name}/{cycle}" for cycle in range(1, len(found) + 1)]
    for (_, earlier), (_, later) in itertools.pairwise(found):
        assert times_of(later.before) == times_of(earlier.before) | times_of(earlier.held_out.log)
    last = found[-1][1]
    assert times_of(last.before) | times_of(last.held_out.log) == times_of(log)


def test_cycles_are_counted_back_from_the_last_click_by_hand() -> None:
    log = log_of([(session, item, day) for session, day in (("a", 0), ("b", 8), ("c", 14), ("d", 15)) for item in "xy"])
    # The last click is on day 15, so the weeks end after days 15, 8 and 1.
    (first, early), (second, late) = cycles(log, parse_protocol("ader:2"))
    assert (str(first), str(second)) == ("ader:2/1", "ader:2/2")
    assert set(early.before.frame["session_id"]) == {"a"}
    assert set(early.held_out.log.frame["session_id"]) == {"b"}
    assert set(late.before.frame["session_id"]) == {"a", "b"}
    assert set(late.held_out.log.frame["session_id"]) == {"c", "d"}


def test_a_protocol_without_cycles_is_its_only_one() -> None:
    log = log_of([(session, item, day) for day, session in enumerate("abcd") for item in "xy"])
    [(protocol, parts)] = cycles(log, parse_protocol("last-day"))
    assert protocol == Protocol("last-days", 1.0)
    assert set(parts.held_out.log.frame["session_id"]) == {"d"}


def test_several_cycles_are_no_single_split() -> None:
    with pytest.raises(WrongUse, match=r"is 3 trainings and as many tests: name one .* rolling-days:3/3"):
        split(log_of([("a", "x", 0), ("a", "y", 1)]), parse_protocol("rolling-days:3"))


def test_the_week_before_validates_the_last_week() -> None:
    log = log_of([(f"s{day}", item, day) for day in range(28) for item in "xy"])
    outer = split(log, parse_protocol("last-week"))
    inner = split_validation(outer.before, parse_protocol("last-week"), outer.begin_ms)
    assert set(outer.held_out.log.frame["session_id"]) == {f"s{day}" for day in range(21, 28)}
    assert set(inner.held_out.log.frame["session_id"]) == {f"s{day}" for day in range(14, 21)}


def test_a_period_for_validation_ends_where_the_test_begins_though_a_session_goes_on() -> None:
    # Session s20 goes on in the last week, so that training ends on day 19; the week before still has days 14 to 20.
    clicks = [(f"s{day}", item, day) for day in range(28) for item in "xy"]
    outer = split(log_of([*clicks, ("s20", "z", 21)]), parse_protocol("last-week"))
    inner = split_validation(outer.before, parse_protocol("last-week"), outer.begin_ms)
    assert "s20" in set(outer.held_out.log.frame["session_id"])
    assert set(inner.held_out.log.frame["session_id"]) == {f"s{day}" for day in range(14, 20)}


def test_a_moment_cannot_cut_a_log_without_times() -> None:
    log = dataclasses.replace(log_of([("a", "x", 0), ("a", "y", 1)]), timed=False)
    with pytest.raises(WrongUse, match="has no times, so time:2020-01-01T00:00:00 cannot cut it: name a share"):
        split(log, parse_protocol("time:2020-01-01"))


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("next-item", Protocol("next-item")),
        ("next-item:0.2", Protocol("next-item", 0.2)),
        ("last-day", Protocol("last-days", 1.0)),
        ("last-days:7", Protocol("last-days", 7.0)),
        ("last-week", Protocol("last-week")),
        ("ratio:8-1-1", Protocol("ratio", shares=(8.0, 1.0, 1.0))),
        ("time:0.9", Protocol("time", 0.9)),
        ("time:1970-01-02", Protocol("time", float(DAY_MS))),
        ("time:1970-01-01T01:00:00.5+01:00", Protocol("time", 500.0)),
        ("leave-one-out", Protocol("leave-one-out")),
        ("leave-one-out-exact", Protocol("leave-one-out-exact")),
        ("rolling-days:7", Protocol("rolling-days", 7.0)),
        ("rolling-days:7/3", Protocol("rolling-days", 7.0, cycle=3)),
        ("ader:16/1", Protocol("ader", 16.0, cycle=1)),
    ],
)
def test_protocols_have_names_that_are_read_back(text: str, protocol: Protocol) -> None:
    assert parse_protocol(text) == protocol
    assert parse_protocol(str(protocol)) == protocol


SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
POSITIVE = st.floats(0, 1e9, exclude_min=True, exclude_max=True)
YEAR_9999_MS = 253_402_300_799_999


@st.composite
def cycle_protocols(draw: st.DrawFn) -> Protocol:
    count = draw(st.integers(1, 9999))
    cycle = draw(st.none() | st.integers(1, count))
    return Protocol(draw(st.sampled_from(["rolling-days", "ader"])), float(count), cycle=cycle)


@given(
    st.builds(Protocol, st.sampled_from(["next-item", "time"]), SHARES)
    | st.builds(Protocol, st.just("last-days"), POSITIVE)
    | st.builds(Protocol, st.just("time"), st.integers(1, YEAR_9999_MS).map(float))
    | st.builds(Protocol, st.just("ratio"), shares=st.tuples(POSITIVE, POSITIVE, POSITIVE))
    | cycle_protocols()
)
def test_the_name_of_a_protocol_loses_nothing(protocol: Protocol) -> None:
    assert parse_protocol(str(protocol)) == protocol


@pytest.mark.parametrize(
    "text",
    [
        "next-item:0.1234567",
        "next-item:0.00001",
        "last-days:7",
        "last-days:1234567",
        "time:0.95",
        "ratio:80-10-10",
        "ratio:0.00001-1-1",
    ],
)
def test_the_name_of_a_protocol_is_written_as_people_write_it(text: str) -> None:
    assert str(parse_protocol(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "random",
        "next-item:2",
        "next-item:x",
        "last-days",
        "last-days:-1",
        "last-days:inf",
        "last-week:2",
        "leave-one-out:3",
        "ratio:8-2",
        "ratio:8-1-0",
        "time",
        "time:2",
        "time:yesterday",
        "time:1969-01-01",
        "rolling-days",
        "rolling-days:0",
        "ader:2/3",
        "ader:2/0",
    ],
)
def test_other_protocols_are_a_wrong_use(text: str) -> None:
    with pytest.raises(WrongUse, match="there is no protocol"):
        parse_protocol(text)


def test_published_protocols_have_their_papers_terms() -> None:
    sessions = Conventions(exclude="none", unknown="drop", min_session_length=2)
    for name in ("last-week", "ratio:8-1-1", "ader:16/2"):
        assert parse_protocol(name).conventions == sessions
    assert parse_protocol("leave-one-out").conventions == Conventions(exclude="seen", unknown="miss")
    assert parse_protocol("next-item").conventions == Conventions(exclude="current", unknown="miss")


def test_a_log_too_small_for_its_protocol_is_an_error_with_counts() -> None:
    log = log_of([("a", "1", 0), ("a", "2", 1)])
    with pytest.raises(DataError, match="2 clicks in 1 sessions: leave-one-out leaves 2 to learn from and 0 to pred"):
        split(log, parse_protocol("leave-one-out"))
    with pytest.raises(DataError, match="next-item leaves 0 to learn from and 1 to predict"):
        split(log, parse_protocol("next-item"))
