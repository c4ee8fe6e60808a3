"""A consumer that waits as long as we say, knows where a changelog ends, skips nothing, and knows what is committed.

The wait: Faust asks every broker to hold an empty fetch for 1.5 s. Kafka answers a waiting fetch as soon as a record
arrives, so its wait costs nothing. Tansu, the embedded broker, looks again only twice in the time that it was told to
wait: measured with kafka-python at 200 clicks/s, the median click arrived after 130 ms of a wait of 500 ms, and after
4 ms of one of 10 ms.

The end: Faust asks for it (ListOffsets) and ends a recovery there. Tansu answers with the first offset of the last
batch plus one, so the rest of that batch would be missing from the table. A fetch tells the end on every broker, so the
later of the two counts.

The skipping: a call for records that is under way when a rebalance pauses every partition goes on with an empty set of
partitions, which aiokafka takes for all of them (`Fetcher.fetched_records`, 0.14.0); Faust drops what it did not ask
for, and later seeks to the committed offsets, which aiokafka does only for partitions that have one. So the first
records of a partition were never seen when two workers started within a second: measured on Kafka, 2,000 of 8,000
clicks. Here a call keeps the set that it began with, and a partition without a committed offset is sought to its start.

The commit: Faust notes an offset as committed even when the commit was refused, because the group had already been
rebalanced. Sessions would then leave the table whose events are read again. Here it is noted when it is true. What was
refused is not tried again: it is the rebalance that settles from where those partitions are read.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from faust.transport.drivers import aiokafka as stock


class ConsumerThread(stock.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, with another wait and another end."""

    mundane_level = "debug"

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.fetch_max_wait_ms
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        if not (asked := frozenset(active_partitions)):
            return {}
        return await super()._fetch_records(consumer, asked, timeout=timeout, max_records=max_records)

    async def seek_to_committed(self) -> Mapping[Any, int | None]:
        """Seek every partition to where it must be read from, and return the offsets that were committed."""
        found: Mapping[Any, int | None] = await self.call_thread(self._seek_to_committed)
        return found

    async def _seek_to_committed(self) -> Mapping[Any, int | None]:
        consumer = self._ensure_consumer()
        committed: Mapping[Any, int | None] = await consumer.seek_to_committed()
        # The changelog has no committed offsets either; the recovery seeks there itself.
        fresh = [tp for tp, offset in committed.items() if not offset and self.app.topics.acks_enabled_for(tp.topic)]
        if fresh:
            await consumer.seek_to_beginning(*fresh)
        return committed

    async def _highwaters(self, partitions: Any) -> Mapping[Any, int]:
        ends: Mapping[Any, int] = await super()._highwaters(partitions)
        consumer = self._ensure_consumer()
        fetched: dict[Any, int] = {}
        # aiokafka fetches from every partition as soon as it is assigned. One that is revoked meanwhile is not waited
        # for; the next assignment asks again.
        while waiting := (consumer.assignment() & set(partitions)) - fetched.keys():
            fetched |= {tp: end for tp in waiting if (end := consumer.highwater(tp)) is not None}
            await asyncio.sleep(0.005)
        return {tp: max(end, fetched.get(tp, end)) for tp, end in ends.items()}


class Consumer(stock.Consumer):  # type: ignore[misc]
    """Faust's consumer on that thread."""

    mundane_level = "debug"

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
        owned = self.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not offsets:
            return False
        await self.app.producer.flush()
        if not await self._commit(offsets):
            return False
        self.app.tables.on_commit(offsets)
        self._committed_offset.update(offsets)
        self.app.monitor.on_tp_commit(offsets)
        return True
