"""What the transport asks of whoever works on the records that it reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from stream.contract.incoming import Incoming


class Work(Protocol):
    """Takes batches of records of one topic and says how far they are finished."""

    topic: str
    most: int
    """Records in one batch at most."""

    async def accept(self, records: Sequence[Incoming], still_ours: Callable[[], bool]) -> None:
        """Take a batch; return when the next one may come. Offsets of a partition only grow.

        Where `still_ours` says no after a wait, the partitions have been given back and the batch must be dropped: it
        is read again by their new owner.
        """

    @property
    def finished(self) -> Mapping[int, int]:
        """By partition, the offset after the last record that is finished, and before which all are."""

    async def settle(self) -> None:
        """Return when everything that was accepted is finished, or never will be."""

    async def release(self) -> None:
        """Let go of all partitions in good order, and forget everything: they are no longer ours."""
