"""The notes that a worker leaves in the changelog for whoever comes after it: what it has in hand."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from stream.errors import PublishError
from stream.pipeline.publish import check
from stream.state.attempts import ATTEMPT_KEY, Attempts, read_attempt
from stream.state.table import SessionTable
from stream.transport.link import Link
from stream.transport.producer import OffsetReceipt, Outgoing, Receipt

# A rebalance waits so long for a note that it can do without.
TAKE_BACK_S = 1.0
LOG = logging.getLogger(__name__)


class Notes:
    """Writes and reads what `Attempts` needs to have remembered.

    Args:
        link: writes to Kafka.
        table: the sessions, in whose changelog the notes are.
        attempts: what they are for.

    """

    def __init__(self, link: Link, table: SessionTable, attempts: Attempts) -> None:
        self._link = link
        self._table = table
        self._attempts = attempts

    def meet(self, partition: int, offset: int) -> None:
        """Begin with a partition at the offset of its first event, unless that has happened."""
        if partition not in self._attempts:
            shard = self._table.shards[partition]
            found = shard.notes.get(ATTEMPT_KEY)
            attempt = None if found is None else read_attempt(found)
            self._attempts.begin(partition, offset, attempt, shard.newest_offset(), self._link.log_end(partition))

    async def write(self, notes: Mapping[int, bytes | None]) -> None:
        """Store a note for each partition, and return when Kafka has it.

        Raises:
            PublishError: Kafka did not take one.

        """
        if not notes:
            return
        written: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        changelog = self._table.changelog_topic_name
        self._attempts.handed_over(notes)
        records = [Outgoing(changelog, ATTEMPT_KEY, note, partition) for partition, note in notes.items()]

        def report(receipt: Receipt) -> None:
            if not written.done():  # nobody waits any more
                written.set_result(receipt)

        self._link.write_patiently(records, OffsetReceipt(records, report))
        receipt = await written
        check(receipt)
        assert isinstance(receipt, OffsetReceipt)
        followed = self._link.in_changelog(receipt)
        for partition, note in notes.items():
            if (shard := self._table.shards.get(partition)) is not None:
                shard.note(ATTEMPT_KEY, note, followed.get(partition))
            if partition in self._attempts:
                self._attempts.recorded(partition)

    async def take_back(self, partitions: Iterable[int], *, write: bool) -> None:
        """Let go of partitions and, where this process may, say that nothing of them is in hand any more.

        Where that is not written, or not in time, it counts as a death.
        """
        notes = self._attempts.released(partitions)
        try:
            async with asyncio.timeout(TAKE_BACK_S):
                await self.write(notes if write else {})
        except (TimeoutError, PublishError) as error:
            LOG.warning("could not write that nothing is in hand any more error=%r", error)
