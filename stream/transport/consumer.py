"""From fetched records to finished work to committed offsets, a batch at a time.

Faust carries every record through five objects, four tasks and a queue, and keeps each in sets until it is
acknowledged: 285 us a click. What it does beside carrying is done here for whole batches:

- Draining. The records of a fetch go to the work as they are, and the next are fetched when it asks for more: what
  waits is taken together, a lone click is taken at once, and what cannot be taken stays with the broker. A record that
  comes while partitions change hands is dropped; it will be read again from the committed offset. Faust sleeps for a
  second when it finds no partition to read from; here it is a hundredth.
- Recovery. Records of the changelog go straight to the table; only the last of each fetch takes Faust's way, so that it
  sees when it has read them all.
- Offsets. Faust keeps sets of acknowledged offsets and may commit past one that is missing (its issue 606). Here the
  work tells, for each partition, before which offset everything is finished; nothing else is ever committed.
- Giving partitions back. Faust forgets what was finished before it commits it, so every rebalance repeats up to a
  commit interval's work; and waits for the work in hand in a way that cannot be cancelled. Here the work settles, and
  knows itself what is finished; that is committed, then the partitions go.
- The commit. Faust notes an offset as committed even when the commit was refused because the group had already been
  rebalanced. Sessions would then leave the table whose events are read again. Here it is noted when it is true. What
  was refused is not tried again: it is the rebalance that settles from where those partitions are read.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from stream.contract.incoming import Incoming
from stream.errors import TopicError
from stream.transport.connection import Connection
from stream.transport.work import Work

# How long a fetch may find nothing before it is looked whether there is something else to do.
FETCH_S = 1.0
PAUSE_S = 0.01
RECOVERY_RECORDS = 5_000
LOG = logging.getLogger(__name__)


class Consumer(stock.Consumer):  # type: ignore[misc]
    """Faust's consumer, with the work of the application behind it."""

    mundane_level = "debug"
    _thread: Connection

    def _new_consumer_thread(self) -> Connection:
        return Connection(self, loop=self.loop, beacon=self.beacon)

    @property
    def _work(self) -> Work:
        work: Work = self.app.work
        return work

    # --- draining

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._drain()
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise
        except Exception as error:
            self.app.on_failure(error)
            raise

    async def _drain(self) -> None:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
            return
        partitions = frozenset(self._get_active_partitions())
        if not partitions:
            # aiokafka takes a call for records of no partitions for one of all (`Fetcher.fetched_records`, 0.14.0).
            # What Faust then dropped was never seen: 2,000 of 8,000 clicks when two workers started together, on Kafka.
            await asyncio.sleep(PAUSE_S)
            return
        most = RECOVERY_RECORDS if self.app.in_recovery else self._work.most
        fetched = await self._thread.fetch(partitions, FETCH_S, most)
        # A call that was waiting while partitions changed hands returns with records of the new assignment.
        active = self._get_active_partitions() if self.flow_active else set()
        generation = self.app.consumer_generation_id

        def still_ours() -> bool:
            return bool(self.flow_active and self.app.consumer_generation_id == generation)

        # aiokafka asks for more as soon as it gets its turn: the next records travel while these are worked on.
        await asyncio.sleep(0)
        clicks: list[Incoming] = []
        for tp, records in fetched.items():
            if tp not in active or not still_ours():
                self._put_back(tp, records)
            elif tp.topic == self._work.topic:
                self._check_order(tp, records)
                clicks += records
            else:
                await self._recover(tp, records)
        if clicks:
            await self._work.accept(clicks, still_ours)

    def _put_back(self, tp: Any, records: Sequence[Incoming]) -> None:
        """Let records be fetched again that came for a partition which is not read now, or no longer.

        aiokafka counts them as read. Where a seek to the committed offset is still to come, this changes nothing; where
        it has been, they would be skipped.
        """
        if tp in self.assignment():
            self._thread.seek(tp, records[0].offset)

    def _check_order(self, tp: Any, records: Sequence[Incoming]) -> None:
        """See that offsets go on where they were; aiokafka goes back to the start of a topic that was made again."""
        expected, found = self._read_offset.get(tp), records[0].offset
        if expected is not None and found < expected:
            raise TopicError(
                f"partition {tp.partition} of topic {tp.topic} goes on at offset {found}, behind {expected}, which was "
                "read before: the topic was deleted and made again, or its records were. Start the worker again, and "
                "it will say what to do"
            )
        if expected is not None and found > expected:
            LOG.warning(
                "records are gone that were not read: retention removed them, or somebody did topic=%s partition=%d "
                "from_offset=%d to_offset=%d",
                *(tp.topic, tp.partition, expected, found - 1),
            )
        self._read_offset[tp] = records[-1].offset + 1

    async def _recover(self, tp: Any, records: Sequence[Incoming]) -> None:
        table = self.app.tables._changelogs[tp.topic]
        table.recover(records)
        recovery = self.app.tables.recovery
        if len(records) > 1:
            known = recovery.active_offsets.get(tp)
            recovery.active_offsets[tp] = max(-1 if known is None else known, records[-2].offset)
        await self.callback(self._last_message(tp, records[-1]))

    def _last_message(self, tp: Any, record: Incoming) -> ConsumerMessage:
        timestamp_s, generation = record.timestamp_ms / 1000, self.app.consumer_generation_id
        return ConsumerMessage(
            *(tp.topic, tp.partition, record.offset, timestamp_s, 0, record.headers, record.key, record.value),
            checksum=None,
            tp=tp,
            generation_id=generation,
        )

    # --- committing

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is finished."""
        return await self._commit_offsets(self._finished())

    def _finished(self) -> dict[Any, int]:
        finished = {TP(self._work.topic, partition): offset for partition, offset in self._work.finished.items()}
        return {tp: offset for tp, offset in finished.items() if offset > (self._committed_offset.get(tp) or 0)}

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
        owned = self.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not offsets or not await self._commit(offsets):
            return False
        self._committed_offset.update(offsets)
        return True

    # --- giving partitions back

    async def wait_empty(self) -> None:
        """Wait for the work in hand and commit it; Faust asks for it before partitions go, and when it stops."""
        await self._work.settle()
        # A commit of the timer's that is under way may hold less, and a second one would only wait for it.
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()
        await self._work.release()

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Say nothing: Faust looks at figures that our way of draining does not touch. The watchdog looks at ours."""
