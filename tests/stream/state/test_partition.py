"""What holds for the sessions of a partition wherever they are kept; every test runs in memory and on disk."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import StateError
from serving.session import SessionState, StateHead, decode_head, encode_state
from stream.state import partition
from stream.state.database import Database
from stream.state.disk import DiskStates, Progress
from stream.state.partition import PartitionStates, States

BUCKET_MS = 10
NewStates = Callable[[], States]


@pytest.fixture(params=["memory", "disk"])
def new_states(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStates]:
    """Make an empty partition; on disk, all of a test's are in one database."""
    if request.param == "memory":
        yield lambda: PartitionStates(BUCKET_MS)
        return
    database, numbers = Database(tmp_path), itertools.count()
    yield lambda: DiskStates(database, next(numbers), Progress(), BUCKET_MS)
    database.close()


# An example gets a partition of its own, so the fixture need not be new for each.
examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def state(offset: int, seen_ms: int = 0) -> bytes:
    return encode_state(SessionState(applied_offset=offset, seen_ms=seen_ms))


def test_states_are_kept_counted_and_forgotten(new_states: NewStates) -> None:
    states = new_states()
    assert [states.get(key) for key in (b"a", b"b", b"c")] == [None, None, None]
    states.store({b"a": state(0, 5), b"b": state(1, 7)}, changelog_offset=8)
    states.store({b"a": state(2, 6), b"c": state(3, 1)}, changelog_offset=9)
    states.store({})
    assert [states.get(key) for key in (b"a", b"b", b"c", b"d")] == [state(2, 6), state(1, 7), state(3, 1), None]
    assert (len(states), states.watermark_ms, states.newest_offset()) == (3, 7, 3)
    assert (b"a" in states, b"d" in states) == (True, False)
    assert states.state_bytes == len(state(2, 6) + state(1, 7) + state(3, 1))
    assert states.remove_many([(b"a", 1), (b"b", 1), (b"c", 3), (b"d", 0)], changelog_offset=10) == 2
    assert [states.get(key) for key in (b"a", b"b", b"c")] == [state(2, 6), None, None]
    assert (len(states), states.watermark_ms, states.newest_offset()) == (1, 7, 3)
    assert states.state_bytes == len(state(2, 6))
    assert states.expired(silent_since_ms=100, committed=10, limit=10).sessions == [(b"a", 2)]


def test_what_stands_under_reserved_keys_is_kept_and_forgotten(new_states: NewStates) -> None:
    states = new_states()
    states.note(b"\xffa", b"1")
    states.note(b"\xffb", b"2", changelog_offset=7)
    states.note(b"\xffa", None)
    states.note(b"\xffc", None)
    assert states.notes == {b"\xffb": b"2"}
    assert len(states) == 0


records = st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.booleans(), st.integers(0, 20)), max_size=30)


@examples
@given(records=records, stops=st.sets(st.integers(0, 29)))
def test_recovery_keeps_the_highest_applied_offset_in_whatever_order_records_stand(
    new_states: NewStates, records: list[tuple[bytes, bool, int]], stops: set[int]
) -> None:
    states = new_states()
    for number, (key, deleted, offset) in enumerate(records):
        if deleted:
            states.recover_deletion(key, offset)
        else:
            states.recover(key, state(offset, seen_ms=offset))
        if number in stops:
            states.recovered_to(number)
    states.recovered_to(len(records))
    states.recovered()
    left = 0
    for key in (b"a", b"b"):
        alive = max((offset for k, deleted, offset in records if k == key and not deleted), default=-1)
        buried = max((offset for k, deleted, offset in records if k == key and deleted), default=-1)
        assert states.get(key) == (state(alive, seen_ms=alive) if alive > buried else None)
        left += alive > buried
    assert len(states) == left
    assert states.watermark_ms == max((offset for _, deleted, offset in records if not deleted), default=0)


def test_a_tombstone_that_no_worker_wrote_always_counts(new_states: NewStates) -> None:
    states = new_states()
    states.recover(b"a", state(5))
    states.recover_deletion(b"a", None)
    states.recovered_to(1)
    assert (states.get(b"a"), len(states)) == (None, 0)
    states.recover(b"a", state(3))
    states.recovered_to(2)
    assert (states.get(b"a"), len(states)) == (state(3), 1)


def test_only_so_many_deletions_are_remembered(new_states: NewStates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "MOST_GRAVES", 2)
    states = new_states()
    for key in (b"a", b"b", b"c"):
        states.recover_deletion(key, 5)
    for key in (b"a", b"b", b"c"):
        states.recover(key, state(4))
    states.recovered_to(9)
    # The first is forgotten, and a late write would bring the session back; the next look at silent ones takes it.
    assert [states.get(key) for key in (b"a", b"b", b"c")] == [state(4), None, None]
    assert states.expired(silent_since_ms=100, committed=10, limit=10).sessions == [(b"a", 4)]


def test_a_state_of_the_future_is_refused(new_states: NewStates) -> None:
    with pytest.raises(StateError, match="format 99"):
        new_states().recover(b"a", bytes([99]))


def test_a_session_expires_when_the_watermark_and_the_commit_have_passed_it(new_states: NewStates) -> None:
    states = new_states()
    states.store({b"old": state(7, seen_ms=105), b"young": state(8, seen_ms=150)})
    assert states.expired(silent_since_ms=109, committed=100, limit=10).sessions == []
    assert states.expired(silent_since_ms=110, committed=7, limit=10).sessions == []
    assert states.expired(silent_since_ms=110, committed=8, limit=10).sessions == [(b"old", 7)]
    states.remove_many([(b"old", 7)])
    assert states.expired(silent_since_ms=110, committed=8, limit=10).sessions == []
    assert states.expired(silent_since_ms=160, committed=9, limit=10).sessions == [(b"young", 8)]


def test_no_look_in_memory_reads_more_states_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    states = PartitionStates(BUCKET_MS)
    states.store({b"%d" % n: state(n, seen_ms=n // 50 * 15) for n in range(100)})
    states.store({b"%d" % n: state(100 + n, seen_ms=95) for n in range(0, 100, 2)})  # younger than their buckets
    reads: list[bytes] = []

    def counting(stored: bytes) -> StateHead:
        reads.append(stored)
        return decode_head(stored)

    monkeypatch.setattr(partition, "decode_head", counting)
    silent: set[bytes] = set()
    for look in range(11):
        reads.clear()
        expired, complete = states.expired(silent_since_ms=50, committed=1_000, limit=10)
        assert len(reads) <= 10
        assert complete == (look == 10)
        states.remove_many(expired)
        silent |= {key for key, _ in expired}
    assert silent == {b"%d" % n for n in range(1, 100, 2)}


updates = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | st.integers(-20, 200)), min_size=1, max_size=60
)


@examples
@given(updates=updates, horizons=st.lists(st.integers(0, 220), max_size=5))
def test_nobody_expires_early_and_everybody_in_the_end(
    new_states: NewStates, updates: list[tuple[bytes, int | None]], horizons: list[int]
) -> None:
    states = new_states()
    seen: dict[bytes, int] = {}
    horizons.sort()
    for offset, (key, seen_ms) in enumerate(updates):
        if seen_ms is None:
            states.get(key)
            states.remove_many([(key, offset)])
            seen.pop(key, None)
        else:
            states.get(key)
            states.store({key: state(offset, seen_ms)})
            seen[key] = seen_ms
        assert len(states) == len(seen)
        if horizons:
            horizon = horizons.pop(0)
            early = [key for key, _ in states.expired(horizon, committed=offset + 1, limit=2).sessions]
            assert len(early) <= 2
            assert all(seen[key] < horizon for key in early)
    left = set(seen)
    for _ in range(len(updates) + 1):
        expired = states.expired(210, len(updates), limit=10).sessions
        left -= {key for key, _ in expired}
        states.remove_many(expired)
    assert (left, len(states)) == (set(), 0)
