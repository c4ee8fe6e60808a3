"""A batch on its way: computed, published, stored, acknowledged, in the one order that loses nothing.

1. lists and dead letters are acknowledged by Kafka,
2. then the states, in the changelog,
3. then the states are put into memory,
4. then the events are acknowledged, and their offsets may be committed.

Sessions that have been silent for long leave between 3 and 4: a rebalance waits for what is not acknowledged, so the
partitions whose sessions are looked at are still this worker's.

Ended between 1 and 2, the events are read again and give the same lists under the same ids. Ended between 2 and 4,
they are read again and found in their sessions' applied offsets, with their lists long published. Any other order loses
lists or counts clicks twice. Nothing here is retried: what raises ends the process before step 4.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

import faust

from serving.control import Control
from stream.metrics import Metrics
from stream.pipeline.compute import Computer, Incoming, Outcome
from stream.pipeline.publish import Outgoing, dead_letter, publish
from stream.settings import TopicSettings
from stream.state.table import APPLIED_OFFSET_HEADER, MARKER_KEY, SessionTable
from stream.transport.offsets import committed_offset

# Looking for expired sessions costs little, but not nothing for each batch of one click.
EXPIRE_EVERY_S = 1.0

Event = Any


class Pipeline:
    """Handles one batch after the other; batches never overlap.

    Args:
        app: the Faust application, whose producer writes.
        table: the sessions.
        computer: what makes lists, run in `executor`.
        topics: names of the topics.
        control: returns what operators have told so far.
        metrics: gets all figures.
        executor: one thread, so that the encoder and the index, themselves on one thread, never share their core.

    """

    def __init__(
        self,
        app: faust.App,
        table: SessionTable,
        computer: Computer,
        *,
        topics: TopicSettings,
        control: Callable[[], Control],
        metrics: Metrics,
        executor: Executor,
    ) -> None:
        self._app = app
        self._table = table
        self._computer = computer
        self._topics = topics
        self._control = control
        self._metrics = metrics
        self._executor = executor
        self._expired_at = time.monotonic()
        self.positions: dict[int, int] = {}
        """By partition, the offset after the last event that is finished."""

    async def handle(self, events: Sequence[Event]) -> None:
        """Bring a batch to its end.

        Raises:
            PublishError: Kafka did not take a record.
            NextclickError: no list can be made of anything.

        """
        records = [_incoming(event.message) for event in events]
        outcome = await self._compute(records)
        await self._emit(outcome)
        await self._store(outcome, {record.partition for record in records})
        if time.monotonic() - self._expired_at >= EXPIRE_EVERY_S:
            await self._expire()
            self._expired_at = time.monotonic()
        for event in events:
            event.ack()
            self.positions[event.message.partition] = event.message.offset + 1
        self._count(records, outcome)

    async def _compute(self, records: Sequence[Incoming]) -> Outcome:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._computer.compute, records, self._control())

    async def _emit(self, outcome: Outcome) -> None:
        """Take step 1."""
        lists = [Outgoing(self._topics.recommendations, answer.record.key, answer.value) for answer in outcome.answers]
        letters = [dead_letter(dead, self._topics.clicks, self._topics.dead_letters) for dead in outcome.dead]
        with self._metrics.timers["emit"].time():
            await publish(self._app, lists + letters)

    async def _store(self, outcome: Outcome, partitions: Iterable[int]) -> None:
        """Take steps 2 and 3."""
        changes = [self._change(partition, key, stored.state) for (partition, key), stored in outcome.states.items()]
        markers = {partition: self._table.missing_marker(partition) for partition in partitions}
        changes += [self._change(partition, MARKER_KEY, marker) for partition, marker in markers.items() if marker]
        with self._metrics.timers["changelog"].time():
            await publish(self._app, changes)
        for (partition, key), stored in outcome.states.items():
            self._table.shard(partition).put(key, stored)
        for partition in partitions:
            self._table.shard(partition).topic_id = self._table.source.topic_id

    async def _expire(self) -> None:
        """Let sessions go that have been silent for long, from the changelog first and then from memory.

        Of every partition, not only of those in the batch: a quiet one would hardly ever have an event in the batch
        that comes when it is time to look.
        """
        for partition, shard in list(self._table.shards.items()):
            # A worker whose session has timed out is not waited for, and its partitions may go at any await.
            if self._table.shards.get(partition) is not shard:
                continue
            expired = self._table.expired(shard, committed_offset(self._app, self._topics.clicks, partition))
            await publish(self._app, [self._tombstone(partition, key, applied) for key, applied in expired])
            self._metrics.expired.inc(sum(shard.remove(key, applied) for key, applied in expired))

    def _change(self, partition: int, key: bytes, value: bytes | None) -> Outgoing:
        return Outgoing(self._table.changelog_topic_name, key, value, partition)

    def _tombstone(self, partition: int, key: bytes, applied: int) -> Outgoing:
        headers = [(APPLIED_OFFSET_HEADER, str(applied).encode())]
        return self._change(partition, key, None)._replace(headers=headers)

    def _count(self, records: Sequence[Incoming], outcome: Outcome) -> None:
        metrics, now = self._metrics, time.time()
        metrics.batch.observe(len(records))
        for stage, seconds in outcome.seconds.items():
            metrics.timers[stage].observe(seconds)
        for record, click, source, _ in outcome.answers:
            if record.timestamp_ms >= 0:
                metrics.latency.observe(max(0.0, now - record.timestamp_ms / 1000))
            metrics.age.observe(max(0.0, now - click.timestamp_ms / 1000))
            metrics.lists.labels(source).inc()
        for dead in outcome.dead:
            metrics.dead_letters.labels(dead.reason).inc()
        metrics.events.labels("served").inc(len(outcome.answers))
        metrics.events.labels("dead_letter").inc(len(outcome.dead))
        metrics.events.labels("duplicate").inc(outcome.duplicates)
        metrics.events.labels("replayed").inc(outcome.replayed)
        metrics.misrouted.inc(outcome.misrouted)
        metrics.count_hits(outcome.hits)


def _incoming(message: Any) -> Incoming:
    # Faust counts seconds in a float, which is exact to a fraction of a microsecond until the year 2242.
    timestamp_ms = -1 if message.timestamp is None else round(message.timestamp * 1000)
    return Incoming(
        message.partition, message.offset, timestamp_ms, message.key, message.value, tuple(message.headers or ())
    )
