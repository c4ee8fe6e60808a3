import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import StateError
from serving.session import SessionState, encode_state
from stream.state.partition import PartitionStates, Stored

BUCKET_MS = 10


def state(offset: int, seen_ms: int = 0) -> bytes:
    return encode_state(SessionState(applied_offset=offset, seen_ms=seen_ms))


def test_states_are_kept_counted_and_forgotten() -> None:
    states = PartitionStates(BUCKET_MS)
    states.put(b"a", Stored(b"123", 0, 5))
    states.put(b"b", Stored(b"12345", 1, 7))
    states.put(b"a", Stored(b"1", 2, 6))
    assert (states.get(b"a"), states.get(b"b"), states.get(b"c")) == (b"1", b"12345", None)
    assert (len(states), states.state_bytes, states.watermark_ms) == (2, 1 + 5, 7)
    states.remove(b"b")
    states.remove(b"b")
    assert (len(states), states.state_bytes, states.watermark_ms) == (1, 1, 7)
    assert b"a" in states
    assert not states.remove(b"a", applied_offset=1)  # it is at 2
    assert states.remove(b"a", applied_offset=2)
    assert (b"a" in states, states.state_bytes) == (False, 0)


def test_many_states_are_stored_at_once_and_removed_unless_they_have_moved_on() -> None:
    states = PartitionStates(BUCKET_MS)
    states.store({b"a": Stored(b"123", 0, 5), b"b": Stored(b"12345", 1, 7)}, changelog_offset=8)
    states.store({b"a": Stored(b"1", 2, 6), b"c": Stored(b"12", 3, 1)}, changelog_offset=9)
    states.store({})
    assert [states.get(key) for key in (b"a", b"b", b"c")] == [b"1", b"12345", b"12"]
    assert (len(states), states.state_bytes, states.watermark_ms) == (3, 1 + 5 + 2, 7)
    assert states.remove_many([(b"a", 1), (b"b", 1), (b"c", 3), (b"d", 0)], changelog_offset=10) == 2
    assert (len(states), states.state_bytes, states.get(b"a")) == (1, 1, b"1")
    assert states.expired(silent_since_ms=100, committed=10, limit=10) == [(b"a", 2)]


def test_what_stands_under_reserved_keys_is_kept_and_forgotten() -> None:
    states = PartitionStates(BUCKET_MS)
    states.note(b"\xffa", b"1")
    states.note(b"\xffb", b"2", changelog_offset=7)
    states.note(b"\xffa", None)
    states.note(b"\xffc", None)
    assert states.notes == {b"\xffb": b"2"}


records = st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.booleans(), st.integers(0, 20)), max_size=30)


@given(records=records)
def test_recovery_keeps_the_highest_applied_offset_in_whatever_order_records_stand(
    records: list[tuple[bytes, bool, int]],
) -> None:
    states = PartitionStates(BUCKET_MS)
    for key, deleted, offset in records:
        if deleted:
            states.recover_deletion(key, offset)
        else:
            states.recover(key, state(offset, seen_ms=offset))
    states.recovered()
    for key in (b"a", b"b"):
        alive = max((offset for k, deleted, offset in records if k == key and not deleted), default=-1)
        buried = max((offset for k, deleted, offset in records if k == key and deleted), default=-1)
        assert states.get(key) == (state(alive, seen_ms=alive) if alive > buried else None)
    assert states.watermark_ms == max((offset for _, deleted, offset in records if not deleted), default=0)


def test_a_tombstone_that_no_worker_wrote_always_counts() -> None:
    states = PartitionStates(BUCKET_MS)
    states.recover(b"a", state(5))
    states.recover_deletion(b"a", None)
    assert b"a" not in states
    states.recover(b"a", state(3))
    assert states.get(b"a") == state(3)


def test_a_state_of_the_future_is_refused() -> None:
    with pytest.raises(StateError, match="format 99"):
        PartitionStates(BUCKET_MS).recover(b"a", bytes([99]))


def test_a_session_expires_when_the_watermark_and_the_commit_have_passed_it() -> None:
    states = PartitionStates(BUCKET_MS)
    states.put(b"old", Stored(b"", 7, seen_ms=105))
    states.put(b"young", Stored(b"", 8, seen_ms=150))
    assert states.expired(silent_since_ms=109, committed=100, limit=10) == []
    assert states.expired(silent_since_ms=110, committed=7, limit=10) == []
    assert states.expired(silent_since_ms=110, committed=8, limit=10) == [(b"old", 7)]
    states.remove(b"old")
    assert states.expired(silent_since_ms=110, committed=8, limit=10) == []
    assert states.expired(silent_since_ms=160, committed=9, limit=10) == [(b"young", 8)]


updates = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | st.integers(0, 200)), min_size=1, max_size=60
)


@given(updates=updates, horizons=st.lists(st.integers(0, 220), max_size=5))
def test_nobody_expires_early_and_everybody_in_the_end(
    updates: list[tuple[bytes, int | None]], horizons: list[int]
) -> None:
    states = PartitionStates(BUCKET_MS)
    seen: dict[bytes, int] = {}
    horizons.sort()
    for offset, (key, seen_ms) in enumerate(updates):
        if seen_ms is None:
            states.remove(key)
            seen.pop(key, None)
        else:
            states.put(key, Stored(b"", offset, seen_ms))
            seen[key] = seen_ms
        if horizons:
            horizon = horizons.pop(0)
            expired = [key for key, _ in states.expired(horizon, committed=offset + 1, limit=2)]
            assert len(expired) <= 2
            assert all(seen[key] < horizon for key in expired)
    states.expired(210, len(updates), limit=10)
    assert {key for key, _ in states.expired(210, len(updates), limit=10)} == set(seen)
