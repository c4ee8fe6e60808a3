"""The session table: Faust decides who owns which partition and reads its changelog; what is kept is ours.

Faust's memory store has one dictionary for all partitions and lets the last record win. Ours keeps each partition by
itself, so that a revoked partition leaves memory whole and a session that a foreign partitioner spread over two
partitions is two sessions, and lets the highest applied offset win. Nothing is written through Faust's dictionary
interface, which sends to the changelog first and drops the answer: the pipeline writes, in the order that delivery
needs.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import faust
import msgspec
from faust.stores.memory import Store
from faust.types import TP

from serving.errors import StateError
from stream.errors import TopicError, as_sentence, place_of
from stream.metrics import Metrics
from stream.state.attempts import ATTEMPT_KEY, read_attempt
from stream.state.partition import Expiry, States
from stream.state.stores import Stores
from stream.transport.offsets import hold_flow, log_ranges

# Not UTF-8, so it is never the key of a session. What is stored under it: which topic the offsets count.
MARKER_KEY = b"\xffclicks"
RESERVED = b"\xff"
APPLIED_OFFSET_HEADER = "nextclick-applied-offset"
LOG = logging.getLogger(__name__)

TopicPartition = Any


class Source(NamedTuple):
    """The topic whose offsets the states count, and the id of their changelog.

    Kafka gives a topic that is made again another id; old brokers give none.
    """

    topic: str
    partitions: int
    topic_id: str | None
    changelog_id: str | None = None


class Marker(msgspec.Struct):
    """What is stored under `MARKER_KEY`."""

    topic_id: str


class SessionTable(faust.Table):  # type: ignore[misc]
    """All sessions of this worker.

    Args:
        app: the Faust application.
        source: where the clicks come from.
        check_source: raises where that is not the same topic any more; None where nobody can tell.
        stores: where the sessions are kept.
        silence_ms: how long before its partition's watermark a session must have been seen last, to leave.
        metrics: gets the recovery's figures.
        on_failure: called with an error that must end the process. Faust logs what a table raises, and goes on.

    """

    mundane_level = "debug"  # of the lines that say "Starting..." and "Stopping..."

    def __init__(
        self,
        app: faust.App,
        *,
        source: Source,
        check_source: Callable[[], Awaitable[None]] | None,
        stores: Stores,
        silence_ms: float,
        metrics: Metrics,
        on_failure: Callable[[Exception], None],
        **options: Any,
    ) -> None:
        super().__init__(app, **options)
        self.source = source
        self.check_source = check_source
        self.stores = stores
        self.silence_ms = int(silence_ms)
        self.metrics = metrics
        self.on_failure = on_failure
        self.shards: dict[int, States] = {}
        self._recovery_began = time.monotonic()

    def _new_store(self) -> "SessionStore":
        return SessionStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    def shard(self, partition: int) -> States:
        """Return the sessions of one partition, which is this worker's from now on."""
        shard = self.shards.get(partition)
        if shard is None:
            shard = self.shards[partition] = self.stores.open(partition)
        return shard

    def state_of(self, partition: int, key: bytes) -> bytes | None:
        """Return a session's state. It is called from another thread, and so adds no partition."""
        shard = self.shards.get(partition)
        return None if shard is None else shard.get(key)

    def expired(self, shard: States, committed: int, limit: int) -> Expiry:
        """Return sessions of a partition that may leave."""
        return shard.expired(shard.watermark_ms - self.silence_ms, committed, limit)

    def missing_marker(self, partition: int) -> bytes | None:
        """Return what must be stored under `MARKER_KEY` in this partition, None where it is."""
        topic_id = self.source.topic_id
        if topic_id is None or MARKER_KEY in self.shard(partition).notes:
            return None
        return msgspec.json.encode(Marker(topic_id))

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop partitions that another worker has now."""
        for partition in partitions:
            self.shards.pop(partition, None)

    async def recovery_begins(self, owned: set[int]) -> None:
        """Faust has new partitions and is about to ask from where their changelog must be read.

        What a disk has is of use only where the changelog goes on from there.
        """
        self._recovery_began = time.monotonic()
        persisted = {p: offset for p in owned if (offset := self.stores.persisted_offset(p)) is not None}
        ranges = await log_ranges(self.app, self.changelog_topic_name, persisted) if persisted else {}
        for partition, offset in persisted.items():
            start, end = ranges[partition]
            if offset >= end:
                self._discard(partition, f"it is at offset {offset}, the changelog ends at {end}")
            elif offset + 1 < start:
                self._discard(partition, f"it is at offset {offset}, the changelog begins at {start}")
            elif (known := self._topic_id(partition)) and self.source.topic_id and known != self.source.topic_id:
                self._discard(partition, f"it counts the clicks of topic {known}, which has gone")

    def _discard(self, partition: int, reason: str) -> None:
        LOG.warning("state on disk is of no use and is read anew partition=%d reason=%r", partition, reason)
        self.shards.pop(partition, None)
        self.stores.discard(partition)

    async def recovery_ends(self, owned: set[int]) -> None:
        """Faust has read the changelog of the partitions that this worker owns."""
        if self.check_source is not None:
            # Partitions also change hands because the topic has gone, and then its committed offsets have gone too.
            await self.check_source()
        self.forget(set(self.shards) - owned)
        for partition in owned:
            self.shard(partition).recovered()
            self._check_topic(partition)
        if self.source.topic_id is None:
            await self._check_offsets(owned)
        self.metrics.recovery.set(time.monotonic() - self._recovery_began)

    def recover(self, records: Sequence[Any]) -> None:
        """Apply records of a partition's changelog, as aiokafka gives them; what cannot be read ends the process."""
        for count, record in enumerate(records):
            try:
                self.apply(record)
            except Exception as error:
                self.metrics.recovered.inc(count)
                self.on_failure(_with_place(error, place_of([record])))
                return
        self.metrics.recovered.inc(len(records))
        try:
            self.shard(records[-1].partition).recovered_to(records[-1].offset)
        except Exception as error:
            self.on_failure(error)

    def apply(self, message: Any) -> None:
        """Apply one record of the changelog."""
        shard, key = self.shard(message.partition), message.key
        if not key:
            return
        if key.startswith(RESERVED):
            if key in _NOTES and message.value is not None:
                _NOTES[key](message.value)  # an error is to say where it is
            shard.note(key, message.value)
        elif message.value is None:
            applied = dict(message.headers or ()).get(APPLIED_OFFSET_HEADER)
            shard.recover_deletion(key, None if applied is None else int(applied))
        else:
            shard.recover(key, message.value)

    def _topic_id(self, partition: int) -> str | None:
        marker = self.shard(partition).notes.get(MARKER_KEY)
        return None if marker is None else _read_marker(marker).topic_id

    def _check_topic(self, partition: int) -> None:
        known, now = self._topic_id(partition), self.source.topic_id
        if known is not None and now is not None and known != now:
            self.on_failure(self._made_again(f"its id is {now}, but the session states were made from {known}"))

    async def _check_offsets(self, owned: set[int]) -> None:
        """Find out by the offsets whether the topic was made again, where the broker gives topics no id."""
        ends = await self.app.consumer.highwaters(*[TP(self.source.topic, p) for p in owned])
        for tp, end in ends.items():
            newest = self.shard(tp.partition).newest_offset()
            if end is not None and newest >= end:
                found = f"partition {tp.partition} ends at offset {end}, but session states count to {newest}"
                self.on_failure(self._made_again(found))

    def _made_again(self, found: str) -> TopicError:
        return TopicError(
            f"topic {self.source.topic} was deleted and made again: {found}. Its offsets have started anew, and clicks "
            f"would be taken for ones that have their list. Delete topic {self.changelog_topic_name} and run "
            "`nextclick topics create`, or set worker.app_id to a new name; both begin with empty sessions"
        )


def _read_marker(value: bytes) -> Marker:
    try:
        return msgspec.json.decode(value, type=Marker)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the changelog's record of the topic that its states count cannot be read ({error}): no worker wrote it; "
            "delete the changelog and run `nextclick topics create`, or set worker.app_id to a new name"
        ) from error


_NOTES = {MARKER_KEY: _read_marker, ATTEMPT_KEY: read_attempt}


def _with_place(error: Exception, place: str) -> Exception:
    return StateError(f"{error} ({place})") if isinstance(error, StateError) else as_sentence(error, place)


class SessionStore(Store):  # type: ignore[misc]
    """What Faust calls when partitions come and go and when it has read some of the changelog."""

    mundane_level = "debug"
    table: SessionTable

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: object, to_value: object) -> None:
        """Do nothing: the transport has given the records to the table when it fetched them."""

    async def on_rebalance(
        self,
        assigned: set[TopicPartition],
        revoked: set[TopicPartition],
        newly_assigned: set[TopicPartition],
        generation_id: int = 0,
    ) -> None:
        """Let go of what was revoked, and look at what a disk has of the rest."""
        changelog = self.table.changelog_topic_name
        self.table.forget(tp.partition for tp in revoked if tp.topic == changelog)
        try:
            await self.table.recovery_begins({tp.partition for tp in assigned if tp.topic == changelog})
        except Exception as error:
            self.table.on_failure(error)

    def persisted_offset(self, tp: TopicPartition) -> int | None:
        """Return up to which offset the changelog need not be read."""
        return self.table.stores.persisted_offset(tp.partition)

    async def on_stop(self) -> None:
        """Let go of a disk."""
        self.table.stores.close()

    async def on_recovery_completed(self, active_tps: set[TopicPartition], standby_tps: set[TopicPartition]) -> None:
        """Check what was read."""
        hold_flow(self.app)
        try:
            await self.table.recovery_ends({tp.partition for tp in active_tps})
        except Exception as error:
            self.table.on_failure(error)
