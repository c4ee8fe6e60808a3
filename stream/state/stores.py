"""Where a worker keeps its sessions: in memory, or in a directory on disk."""

import sys
from typing import Protocol

from serving.errors import WrongUse
from stream.settings import WorkerSettings
from stream.state.partition import PartitionStates, States


class Stores(Protocol):
    """What holds the sessions of all partitions."""

    def open(self, partition: int) -> States:
        """Return the sessions of a partition that this worker has been given."""

    def persisted_offset(self, partition: int) -> int | None:
        """Return up to which offset the partition's changelog need not be read, None where it must be read whole."""

    def discard(self, partition: int) -> None:
        """Forget all that is kept of a partition."""

    def close(self) -> None:
        """Keep nothing any more."""


class MemoryStores:
    """Sessions in memory, which are in the changelog and nowhere else when the process has gone.

    Args:
        silence_ms: how long a session is kept after its last event.

    """

    def __init__(self, silence_ms: int) -> None:
        self._bucket_ms = max(1_000, silence_ms // 32)

    def open(self, partition: int) -> States:
        """Return the sessions of a partition: none."""
        return PartitionStates(self._bucket_ms)

    def persisted_offset(self, partition: int) -> None:
        """Return that the changelog must be read whole."""

    def discard(self, partition: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def open_stores(worker: WorkerSettings, changelog: str, changelog_id: str | None, silence_ms: int) -> Stores:
    """Return what `worker.store` names.

    Args:
        worker: the settings.
        changelog: the topic that has all of it.
        changelog_id: its id, None where the broker gives topics none.
        silence_ms: how long a session is kept after its last event.

    Raises:
        WrongUse: rocksdict is not installed, or the directory cannot be used.
        StateError: the disk cannot be read or written.

    """
    if worker.state_dir is None:
        return MemoryStores(silence_ms)
    try:
        from stream.state.directory import DiskStores
    except ModuleNotFoundError as error:
        raise WrongUse(
            f'worker.store = "rocksdb" needs {error.name}, which is not installed here; in a clone of nextclick run '
            f"`{sys.executable} -m pip install '.[rocksdb]'`, or set worker.store to \"memory\""
        ) from error
    return DiskStores(worker.state_dir, changelog, changelog_id, silence_ms)
