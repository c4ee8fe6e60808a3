import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import StateError
from serving.session import (
    STATE_FORMAT,
    Carried,
    Interaction,
    Moment,
    SessionState,
    decode_state,
    encode_state,
    event_hash,
    is_new_session,
    session_clock,
    window_start,
    windows,
)

counts = st.integers(1, 400)
lengths = st.integers(2, 60)
interactions = st.builds(
    Interaction,
    st.text(max_size=5),
    st.sampled_from(["view", "purchase"]),
    st.integers(0, 2**53),
    st.integers(0, 2**63 - 1),
)
states = st.builds(
    SessionState,
    st.integers(-1, 2**62),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.integers(0, 10_000),
    st.lists(interactions, max_size=5),
    st.lists(st.text(max_size=5), max_size=5),
    st.text(max_size=16),
    st.lists(st.builds(Carried, st.text(max_size=16), st.integers(0, 100), st.binary(max_size=32)), max_size=2),
)


@given(states)
def test_a_state_reads_back_as_it_was_written(state: SessionState) -> None:
    assert decode_state(encode_state(state)) == state


def test_a_state_of_a_newer_format_is_refused_with_both_numbers() -> None:
    newer = bytes([STATE_FORMAT + 1]) + encode_state(SessionState())[1:]
    with pytest.raises(StateError, match=f"format {STATE_FORMAT + 1}, this version reads format {STATE_FORMAT}"):
        decode_state(newer)


@pytest.mark.parametrize("stored", [b"", bytes([STATE_FORMAT]), bytes([STATE_FORMAT]) + b"\xc1", b"{}"])
def test_bytes_that_are_no_state_are_refused(stored: bytes) -> None:
    with pytest.raises(StateError, match="session state"):
        decode_state(stored)


@given(counts, lengths)
def test_a_window_never_holds_more_than_its_length_nor_less_than_half_of_it(count: int, length: int) -> None:
    start = window_start(count, length)
    assert 1 <= count - start <= length
    assert start == 0 or count - start >= length // 2


@given(counts, lengths)
def test_a_window_starts_at_the_newest_reset_point_that_leaves_half(count: int, length: int) -> None:
    start, half = window_start(count, length), length // 2
    assert start % half == 0
    if count <= length:
        assert start == 0
    else:
        assert count - (start + half) < half


@given(counts, lengths)
def test_the_stretches_of_a_session_are_those_that_its_windows_read(count: int, length: int) -> None:
    last_count_of = {window_start(n, length): n for n in range(1, count + 1)}
    assert windows(count, length) == sorted(last_count_of.items())


@pytest.mark.parametrize(("later_ms", "new"), [(1_800_000, False), (1_800_001, True), (0, False), (-5_000_000, False)])
def test_only_a_silence_longer_than_the_gap_begins_a_session(later_ms: int, new: bool) -> None:
    assert is_new_session(10_000_000, 10_000_000 + later_ms, 1_800_000) is new


@pytest.mark.parametrize(
    ("timestamp_ms", "clock_ms"),
    [
        (10_500, 10_500),  # later: the clock goes with it
        (9_500, 10_000),  # a little late: the clock stays
        (9_000, 10_000),  # late by just the gap
        (8_999, 8_999),  # by more: one of the two is wrong, and the newer event counts
    ],
)
def test_a_sessions_clock_follows_its_events_and_is_never_stuck_in_the_future(timestamp_ms: int, clock_ms: int) -> None:
    assert session_clock(10_000, timestamp_ms, 1_000) == clock_ms


@given(st.text(), st.text())
def test_event_hashes_tell_ids_apart_and_fit_a_signed_integer(one: str, other: str) -> None:
    assert 0 <= event_hash(one) < 2**63
    assert (event_hash(one) == event_hash(other)) is (one == other)


def test_a_moment_sees_no_later_event() -> None:
    log = [Interaction(f"i{n}", "view", n, n) for n in range(5)]
    moment = Moment(log, 4, 10)  # the session's events 6 to 9 of 10 are in the list; a later one has joined since
    assert [i.item_id for i in moment.last(2)] == ["i2", "i3"]
    assert [i.item_id for i in moment.since(7)] == ["i1", "i2", "i3"]
    assert [i.item_id for i in moment.since(0)] == ["i0", "i1", "i2", "i3"]
