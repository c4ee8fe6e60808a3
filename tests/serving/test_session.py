from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import StateError
from serving.events import Click
from serving.session import (
    STATE_FORMAT,
    Carried,
    Interaction,
    Moment,
    SessionState,
    StateHead,
    as_line,
    decode_head,
    decode_state,
    encode_state,
    event_hash,
    is_new_session,
    join_lines,
    last_lines,
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
    SessionState.of,
    st.lists(interactions, max_size=5),
    applied_offset=st.integers(-1, 2**62),
    last_ms=st.integers(0, 2**53),
    seen_ms=st.integers(0, 2**53),
    count=st.integers(0, 10_000),
    last_list=st.lists(st.text(max_size=5), max_size=5).map(join_lines),
    last_list_bundle=st.text(max_size=16),
    carried=st.lists(st.builds(Carried, st.text(max_size=16), st.integers(0, 100), st.binary(max_size=32)), max_size=2),
)
# As version 1 wrote it: two events, a list of three items, one carried state.
STATE_V1 = bytes.fromhex(
    "019807cf0000019e70448be8cf0000019e70448be8029294a3690a31a476696577cf0000019e70448800cf0daeaf28faa787"
    "8294a26932a87075726368617365cf0000019e70448be8cf7f689a8417877fbc93a26933a26934a26935a1629193a16200c4"
    "080001020304050607"
)


@given(states)
def test_a_state_reads_back_as_it_was_written(state: SessionState) -> None:
    stored = encode_state(state)
    assert decode_state(stored) == state
    head = decode_head(stored)
    assert (head.applied_offset, head.last_ms, head.seen_ms) == (state.applied_offset, state.last_ms, state.seen_ms)


@given(st.lists(interactions))
def test_events_are_kept_as_they_were(events: list[Interaction]) -> None:
    assert SessionState.of(events).interactions == events


@given(st.lists(st.text()), st.integers(0, 10))
def test_the_last_lines_of_a_column_are_its_last_texts(texts: list[str], count: int) -> None:
    assert last_lines(join_lines(texts), count) == (texts[-count:] if texts else [""])[: 0 if count == 0 else None]
    assert all("\n" not in as_line(text) for text in texts)


def test_a_state_of_format_1_is_read() -> None:
    assert decode_head(STATE_V1) == StateHead(7, 1_780_000_001_000, 1_780_000_001_000)
    state = decode_state(STATE_V1)
    assert state == SessionState.of(
        [
            Interaction("i\n1", "view", 1_780_000_000_000, event_hash("e1")),
            Interaction("i2", "purchase", 1_780_000_001_000, event_hash("e2")),
        ],
        applied_offset=7,
        last_ms=1_780_000_001_000,
        seen_ms=1_780_000_001_000,
        count=2,
        last_list="i3\ni4\ni5",
        last_list_bundle="b",
        carried=[Carried("b", 0, bytes(range(8)))],
    )
    assert not state.fold(Click("e2", "s", "i2", 1_780_000_002_000), 1_780_000_002_000, 100, 1_800_000)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(2, 8), st.integers(2, 8))
def test_a_state_folds_clicks_as_a_list_of_its_last_events_would(ids: list[int], length: int, later: int) -> None:
    """`later` is another setting, under which the second half is folded."""
    state = SessionState()
    kept: list[int] = []
    for n, event in enumerate(ids):
        most = length if n < len(ids) // 2 else later
        kept = kept[-most:]
        new = event not in kept
        assert state.fold(Click(f"e{event}", "s", f"i{event}", n), n, most, 1e9) is new
        kept = [*kept, event][-most:] if new else kept
        assert [i.item_id for i in state.interactions] == [f"i{event}" for event in kept]
        assert [i.event_hash for i in state.interactions] == [event_hash(f"e{event}") for event in kept]


def test_a_hash_is_found_only_where_one_begins() -> None:
    one, other = event_hash("e1").to_bytes(8), event_hash("e2").to_bytes(8)
    between = int.from_bytes((one + other)[3:11])
    state = SessionState.of([Interaction("i", "view", 0, int.from_bytes(each)) for each in (one, other)])
    assert state.hashes.find(between.to_bytes(8)) == 3
    assert not state.knows(between.to_bytes(8))
    assert state.knows(other)


def test_a_state_of_a_newer_format_is_refused_with_both_numbers() -> None:
    newer = bytes([STATE_FORMAT + 1]) + encode_state(SessionState())[1:]
    with pytest.raises(StateError, match=f"format {STATE_FORMAT + 1}, this version reads formats up to {STATE_FORMAT}"):
        decode_state(newer)
    with pytest.raises(StateError, match=f"format {STATE_FORMAT + 1}"):
        decode_head(newer)


@pytest.mark.parametrize("stored", [b"", bytes([STATE_FORMAT]), bytes([STATE_FORMAT]) + b"\xc1", b"{}"])
@pytest.mark.parametrize("decode", [decode_state, decode_head])
def test_bytes_that_are_no_state_are_refused(stored: bytes, decode: Callable[[bytes], object]) -> None:
    with pytest.raises(StateError, match="session state"):
        decode(stored)


def test_what_is_left_out_of_a_state_has_its_default_in_the_head_too() -> None:
    short = bytes([STATE_FORMAT, 0x91, 5])
    state, head = decode_state(short), decode_head(short)
    assert (head.applied_offset, head.last_ms, head.seen_ms) == (state.applied_offset, state.last_ms, state.seen_ms)


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


def test_a_moment_gives_its_last_items_types_and_times() -> None:
    kept = [Interaction(f"i{n}", "view" if n % 2 else "buy", 1000 * n, n) for n in range(6, 10)]
    state = SessionState.of(kept)  # of 10 events the last 4 are kept
    moment = Moment(0, 9, 10, state.items, state.types, state.times)
    assert moment.last(2) == ["i8", "i9"]
    assert moment.since(7) == ["i7", "i8", "i9"]
    assert moment.since(0) == ["i6", "i7", "i8", "i9"]
    assert moment.last_types(3) == ["view", "buy", "view"]
    assert moment.last_times(2) == [8000, 9000]
    assert moment.last_times(9) == [6000, 7000, 8000, 9000]
    assert (moment.last(0), moment.last_types(0), moment.last_times(0)) == ([], [], [])
