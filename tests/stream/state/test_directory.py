"""A worker's directory: what is there when it is opened again, when it is not used, and how it says that it cannot."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from serving.errors import StateError, WrongUse
from serving.session import SessionState, encode_state
from stream.pipeline.pipeline import EXPIRE_AT_MOST, MAX_IN_FLIGHT
from stream.settings import WorkerSettings
from stream.state import directory, disk
from stream.state.directory import DiskStores
from stream.state.partition import States
from stream.state.stores import MemoryStores, open_stores

CHANGELOG = "nextclick-sessions-changelog"
SILENCE_MS = 80_000
NewStores = Callable[..., DiskStores]


@pytest.fixture
def new_stores(tmp_path: Path) -> Iterator[NewStores]:
    """Open the test's directory; the one that was opened before is closed first."""
    opened: list[DiskStores] = []

    def new(changelog_id: str | None = "id-1") -> DiskStores:
        if opened:
            opened.pop().close()
        opened.append(DiskStores(tmp_path / "state", CHANGELOG, changelog_id, SILENCE_MS))
        return opened[0]

    yield new
    for stores in opened:
        stores.close()


def state(offset: int, seen_ms: int = 0, item: str = "") -> bytes:
    return encode_state(SessionState(applied_offset=offset, seen_ms=seen_ms, items=item))


def fill(states: States) -> None:
    assert states.get(b"a") is None
    states.store({b"a": state(5, 1_000)}, changelog_offset=7)
    states.note(b"\xffn", b"1", changelog_offset=8)


def test_what_was_stored_is_there_again_with_how_far_it_is(new_stores: NewStores) -> None:
    stores = new_stores()
    assert [stores.persisted_offset(partition) for partition in (0, 1)] == [None, None]
    fill(stores.open(1))
    states = new_stores().open(1)
    assert (states.get(b"a"), states.notes) == (state(5, 1_000), {b"\xffn": b"1"})
    assert (len(states), states.state_bytes) == (1, len(state(5, 1_000)))
    assert (states.watermark_ms, states.newest_offset()) == (1_000, 5)
    stores = new_stores()
    assert [stores.persisted_offset(partition) for partition in (0, 1)] == [None, 8]
    assert stores.open(1).expired(100_000, committed=10, limit=10).sessions == [(b"a", 5)]


def test_the_offset_goes_only_as_far_as_is_known(new_stores: NewStores) -> None:
    stores = new_stores()
    states = stores.open(0)
    states.store({b"a": state(1)})
    assert stores.persisted_offset(0) is None
    states.store({b"a": state(2)}, changelog_offset=10)
    states.store({b"a": state(3)})
    states.remove_many([(b"a", 3)], changelog_offset=9)
    assert stores.persisted_offset(0) == 10
    states.recover(b"a", state(4))
    assert (states.get(b"a"), stores.persisted_offset(0)) == (None, 10)  # with the rest of what was fetched
    states.recovered_to(20)
    assert (states.get(b"a"), stores.persisted_offset(0)) == (state(4), 20)


def test_a_process_that_is_killed_loses_nothing_that_it_stored(tmp_path: Path, new_stores: NewStores) -> None:
    code = f"""
import os, sys
from pathlib import Path
from stream.state.directory import DiskStores
stores = DiskStores(Path({str(tmp_path)!r}) / "state", {CHANGELOG!r}, "id-1", {SILENCE_MS})
states = stores.open(0)
for n in range(100):
    states.store({{b"%d" % n: {state(1)!r}}}, changelog_offset=n)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    stores = new_stores()
    states = stores.open(0)
    assert stores.persisted_offset(0) == 99
    assert all(states.get(b"%d" % n) == state(1) for n in range(100))


def test_a_changelog_that_was_made_again_makes_the_disk_useless(new_stores: NewStores) -> None:
    fill(new_stores("id-1").open(0))
    assert new_stores(None).persisted_offset(0) == 8  # nothing is known
    stores = new_stores("id-2")
    assert (stores.persisted_offset(0), len(stores.open(0)), stores.open(0).notes) == (None, 0, {})
    assert new_stores("id-1").persisted_offset(0) is None  # it has gone for good


@pytest.mark.parametrize(("module", "name", "value"), [(directory, "KEEPS_S", -1), (directory, "FORMAT", 99)])
def test_a_disk_that_is_too_old_or_of_another_format_is_read_anew(
    new_stores: NewStores, monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: int
) -> None:
    fill(new_stores().open(0))
    monkeypatch.setattr(module, name, value)
    stores = new_stores()
    monkeypatch.undo()
    # Dropped when the directory was opened, so that a partition that never comes back does not stay.
    assert (stores.persisted_offset(0), stores.open(0).get(b"a")) == (None, None)


def test_a_partition_is_discarded_and_its_neighbours_are_not(new_stores: NewStores) -> None:
    stores = new_stores()
    for partition in (254, 255, 256):
        fill(stores.open(partition))
    stores.discard(255)
    assert [stores.persisted_offset(partition) for partition in (254, 255, 256)] == [8, None, 8]
    states = stores.open(255)
    assert (states.get(b"a"), states.notes, states.expired(100_000, 10, 10).sessions) == (None, {}, [])
    assert stores.open(256).get(b"a") is not None


def test_a_directory_is_one_workers_at_a_time(tmp_path: Path, new_stores: NewStores) -> None:
    new_stores()
    with pytest.raises(WrongUse, match=r"in use by another worker \(process \d+\): each worker needs"):
        DiskStores(tmp_path / "state", "another-changelog", None, SILENCE_MS)
    new_stores()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WrongUse, match=r"worker.state_dir = .*file/state cannot be used \(Not a directory\)"):
        DiskStores(tmp_path / "file" / "state", CHANGELOG, None, SILENCE_MS)


def test_a_full_disk_is_a_sentence_and_nothing_is_half_written(tmp_path: Path, new_stores: NewStores) -> None:
    """The kernel refuses to let a file grow, as it does when the disk is full."""
    code = f"""
import resource, sys
from pathlib import Path
from serving.errors import StateError
from stream.state.directory import DiskStores
stores = DiskStores(Path({str(tmp_path)!r}) / "state", {CHANGELOG!r}, "id-1", {SILENCE_MS})
states = stores.open(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for n in range(1_000):
        states.store({{b"a%d" % n: {state(1, item=500 * "i")!r}, b"b%d" % n: {state(0)!r}}}, n)
except StateError as error:
    print(error)
    stores.close()
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "session states on disk cannot be written in" in output
    assert f"{tmp_path}/state/{CHANGELOG}" in output
    assert "make room on the disk" in output
    stores = new_stores()
    states = stores.open(0)
    newest = stores.persisted_offset(0)
    assert newest is not None
    assert newest > 0
    assert all((states.get(b"a%d" % n) is None) == (n > newest) for n in range(1_000))
    assert all((states.get(b"b%d" % n) is None) == (n > newest) for n in range(1_000))


def test_a_damaged_database_is_made_anew(tmp_path: Path, new_stores: NewStores) -> None:
    stores = new_stores()
    fill(stores.open(0))
    stores.close()
    for table in (tmp_path / "state" / CHANGELOG).glob("MANIFEST*"):
        table.write_bytes(b"\0" * 1_000)
    stores = new_stores()
    assert stores.persisted_offset(0) is None
    fill(stores.open(0))


def test_a_database_that_cannot_be_opened_is_a_sentence_and_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / CHANGELOG).touch()
    for _ in range(2):
        with pytest.raises(StateError, match="session states on disk cannot be opened in"):
            DiskStores(tmp_path, CHANGELOG, None, SILENCE_MS)


def test_states_are_read_from_one_thread_while_another_writes(new_stores: NewStores) -> None:
    states = new_stores().open(0)
    written, found = Event(), set()

    def read() -> None:
        while not written.is_set():
            found.add(states.get(b"a"))

    reader = Thread(target=read)
    reader.start()
    for n in range(500):
        states.store({b"a": state(n), b"b": state(n)}, n)
    written.set()
    reader.join()
    assert found <= {None} | {state(n) for n in range(500)}


def test_only_so_many_sessions_are_looked_at_in_one_go(new_stores: NewStores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "EXPIRE_AT_MOST", 10)
    states = new_stores().open(0)
    for n in range(100):  # seen in many buckets each, of which only the last counts
        states.store({b"a": state(n, n * 5_000), b"%d" % n: state(n, n * 1_000)}, n)
    looks, left = 0, {b"a"} | {b"%d" % n for n in range(100)}
    while left:
        expired, complete = states.expired(1_000_000, committed=1_000, limit=100)
        assert len(expired) <= 10
        assert complete == (left == {key for key, _ in expired})
        states.remove_many(expired)
        left -= {key for key, _ in expired}
        looks += 1
        assert looks < 100
    assert [states.get(key) for key in (b"a", b"5")] == [None, None]


def test_the_settings_say_where_sessions_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_stores(WorkerSettings(), CHANGELOG, None, SILENCE_MS), MemoryStores)
    worker = WorkerSettings(store="rocksdb", state_dir=tmp_path)
    stores = open_stores(worker, CHANGELOG, None, SILENCE_MS)
    assert isinstance(stores, DiskStores)
    stores.close()
    monkeypatch.delitem(sys.modules, "stream.state.directory")
    monkeypatch.delitem(sys.modules, "stream.state.database")
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(WrongUse, match=r"needs rocksdict, which is not installed here; .*\[rocksdb\]"):
        open_stores(worker, CHANGELOG, None, SILENCE_MS)


def test_sizes_are_remembered_from_reading_to_writing() -> None:
    assert 2 * (MAX_IN_FLIGHT + WorkerSettings().batch_max_events) + EXPIRE_AT_MOST <= disk.REMEMBERED


def test_sizes_are_remembered_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "REMEMBERED", 10)
    sizes = disk.Sizes()
    for n in range(1_000):
        sizes.note(b"%d" % n, n)
        assert all(sizes.of(b"%d" % m) == m for m in range(max(0, n - 9), n + 1))
        assert all(sizes.of(b"%d" % m) is None for m in range(n - 19))
