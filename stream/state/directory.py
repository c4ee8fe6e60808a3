"""The directory in which one worker keeps the sessions of all its partitions: more than fit into memory.

One database for all partitions, each under a prefix of its own. One database for each partition, as Faust has it, was
measured too: with 32 partitions a write takes 35 % more CPU, there are 20 times the open files and three times the
memory, and every rebalance opens and closes databases in the event loop, for 6 to 40 ms each. What is gained by it,
that a partition can be deleted as a directory, a deletion of its range of keys does as well.

Nothing here must survive: the changelog has all of it. So nothing is synced to the disk; after a crash of the machine
RocksDB gives back some state of the past, whole, with the offset that belongs to it, and what follows is read from the
changelog. Where anything does not fit (the changelog was made again, or begins behind what the disk has, or the disk is
as old as the changelog's memory of deletions), the disk's part is dropped and read anew.
"""

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from serving.errors import WrongUse
from stream.state.database import Database, new_batch
from stream.state.disk import FORMAT, PROGRESS, DiskStates, Progress, prefix_of
from stream.state.partition import States

# A tombstone stays in the changelog for 24 hours (delete.retention.ms); a disk that missed one would keep the session.
KEEPS_S = 12 * 3600
LOG = logging.getLogger(__name__)


class DiskStores:
    """The directory of one worker.

    Args:
        directory: for this worker alone.
        changelog: the topic that has all of it.
        changelog_id: its id, None where the broker gives topics none.
        silence_ms: how long a session is kept after its last event.

    Raises:
        WrongUse: the directory cannot be used, or another process uses it.
        StateError: the database in it can be neither opened nor made.

    """

    def __init__(self, directory: Path, changelog: str, changelog_id: str | None, silence_ms: int) -> None:
        self.directory = directory
        self._changelog_id = changelog_id
        # A session is listed in every bucket in which it was seen: fewer than in memory, where it is in one.
        self._bucket_ms = max(1_000, silence_ms // 8)
        self._lock = _lock(directory)
        try:
            self._database = Database(directory / changelog)
            self._drop_outdated()
        except BaseException:
            os.close(self._lock)
            raise

    def open(self, partition: int) -> States:
        """Return the sessions of a partition."""
        return DiskStates(self._database, partition, self._progress(partition), self._bucket_ms)

    def persisted_offset(self, partition: int) -> int | None:
        """Return up to which offset the partition's changelog is here; drop what must not be gone on with."""
        progress = self._progress(partition)
        return None if progress.offset < 0 else progress.offset

    def discard(self, partition: int) -> None:
        """Forget all that is kept of a partition."""
        batch = new_batch()
        batch.delete_range(prefix_of(partition), prefix_of(partition + 1))
        self._database.write(batch)

    def close(self) -> None:
        """Close the database, and let another process have the directory; once is enough."""
        if self._lock >= 0:
            self._database.close()
            os.close(self._lock)
            self._lock = -1

    def _progress(self, partition: int) -> Progress:
        """Return how far a partition is; where it is outdated, it is dropped first."""
        found = self._database.get(prefix_of(partition) + PROGRESS)
        if found is not None:
            with suppress(msgspec.DecodeError):
                progress = msgspec.msgpack.decode(found, type=Progress)
                if not self._is_outdated(progress):
                    return progress
            LOG.warning("state on disk is outdated and is read anew partition=%d", partition)
            self.discard(partition)
        return Progress(changelog_id=self._changelog_id)

    def _is_outdated(self, progress: Progress) -> bool:
        of_another = None not in (progress.changelog_id, self._changelog_id) and (
            progress.changelog_id != self._changelog_id
        )
        return of_another or progress.format != FORMAT or time.time() - progress.written_s > KEEPS_S

    def _drop_outdated(self) -> None:
        """Drop what nobody could go on with, so that partitions that never come back leave the disk."""
        at = self._database.first(b"")
        while at is not None:
            partition = int.from_bytes(at[:4])
            self._progress(partition)
            at = self._database.first(prefix_of(partition + 1))


def _lock(directory: Path) -> int:
    """Take a worker's directory, and return the file descriptor that holds it until it is closed or the process ends.

    RocksDB has a lock too, but its message does not say what to do.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise WrongUse(
            f"worker.state_dir = {directory} cannot be used ({error.strerror}); name a directory on a local disk that "
            'this worker may write to, or set worker.store to "memory"'
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise WrongUse(
            f"worker.state_dir = {directory} is in use by another worker (process {owner or 'unknown'}): each worker "
            "needs a directory of its own; name another one, or stop that worker"
        ) from error
    with suppress(OSError):  # a full disk need not keep a worker from starting
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    return lock
