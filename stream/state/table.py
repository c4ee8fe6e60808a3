"""The session table: Faust decides who owns which partition and reads its changelog; what is kept is ours.

Faust's memory store has one dictionary for all partitions and lets the last record win. Ours has one for each, so that
a revoked partition leaves memory whole and a session that a foreign partitioner spread over two partitions is two
sessions, and lets the highest applied offset win. Nothing is written through Faust's dictionary interface, which sends
to the changelog first and drops the answer: the pipeline writes, in the order that delivery needs.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import faust
import msgspec
from faust.stores.memory import Store
from faust.types import TP

from serving.errors import StateError
from stream.errors import TopicError, as_sentence, place_of
from stream.metrics import Metrics
from stream.state.partition import PartitionStates
from stream.transport.offsets import hold_flow

# Not UTF-8, so it is never the key of a session. What is stored under it: which topic the offsets count.
MARKER_KEY = b"\xffclicks"
RESERVED = b"\xff"
APPLIED_OFFSET_HEADER = "nextclick-applied-offset"
# Sessions that leave in one go; the events that wait meanwhile wait for two milliseconds, not for all of them.
EXPIRE_AT_MOST = 5_000

TopicPartition = Any


class Source(NamedTuple):
    """The topic whose offsets the states count. Kafka gives a topic that is made again another id; old brokers none."""

    topic: str
    partitions: int
    topic_id: str | None


class Marker(msgspec.Struct):
    """What is stored under `MARKER_KEY`."""

    topic_id: str


class SessionTable(faust.Table):  # type: ignore[misc]
    """All sessions of this worker.

    Args:
        app: the Faust application.
        source: where the clicks come from.
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
        silence_ms: float,
        metrics: Metrics,
        on_failure: Callable[[Exception], None],
        **options: Any,
    ) -> None:
        super().__init__(app, **options)
        self.source = source
        self.silence_ms = int(silence_ms)
        self.metrics = metrics
        self.on_failure = on_failure
        self.shards: dict[int, PartitionStates] = {}
        self._recovery_began = time.monotonic()

    def _new_store(self) -> "SessionStore":
        return SessionStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    def shard(self, partition: int) -> PartitionStates:
        """Return the sessions of one partition."""
        shard = self.shards.get(partition)
        if shard is None:
            shard = self.shards[partition] = PartitionStates(max(1_000, self.silence_ms // 32))
        return shard

    def state_of(self, partition: int, key: bytes) -> bytes | None:
        """Return a session's state. It is called from another thread, and so adds no partition."""
        shard = self.shards.get(partition)
        return None if shard is None else shard.get(key)

    def expired(self, shard: PartitionStates, committed: int) -> list[tuple[bytes, int]]:
        """Return sessions of a partition that may leave, each with its applied offset."""
        return shard.expired(shard.watermark_ms - self.silence_ms, committed, EXPIRE_AT_MOST)

    def missing_marker(self, partition: int) -> bytes | None:
        """Return what must be stored under `MARKER_KEY` in this partition, None where it is."""
        topic_id, shard = self.source.topic_id, self.shard(partition)
        if topic_id is None or shard.topic_id is not None or MARKER_KEY in shard.notes:
            return None
        return msgspec.json.encode(Marker(topic_id))

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop partitions that another worker has now."""
        for partition in partitions:
            self.shards.pop(partition, None)

    def recovery_begins(self) -> None:
        """Faust has new partitions and is about to read their changelog."""
        self._recovery_began = time.monotonic()

    async def recovery_ends(self, owned: set[int]) -> None:
        """Faust has read the changelog of the partitions that this worker owns."""
        self.forget(set(self.shards) - owned)
        for partition in owned:
            self.shard(partition).recovered()
            self._check_topic(partition)
        if self.source.topic_id is None:
            await self._check_offsets(owned)
        self.metrics.recovery.set(time.monotonic() - self._recovery_began)

    def recover(self, records: Iterable[Any]) -> None:
        """Apply records of the changelog, as aiokafka gives them; what cannot be read ends the process."""
        count = 0
        for record in records:
            try:
                self.apply(record)
            except Exception as error:
                self.on_failure(_with_place(error, place_of([record])))
                break
            count += 1
        self.metrics.recovered.inc(count)

    def apply(self, message: Any) -> None:
        """Apply one record of the changelog."""
        shard, key = self.shard(message.partition), message.key
        if key == MARKER_KEY and message.value is not None:
            shard.topic_id = _read_marker(message.value).topic_id
        elif not key or key.startswith(RESERVED):
            shard.note(key or b"", message.value)  # ours, or of a newer version
        elif message.value is None:
            applied = dict(message.headers or ()).get(APPLIED_OFFSET_HEADER)
            shard.recover_deletion(key, None if applied is None else int(applied))
        else:
            shard.recover(key, message.value)

    def _check_topic(self, partition: int) -> None:
        known, now = self.shard(partition).topic_id, self.source.topic_id
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
        """Let go of what was revoked."""
        self.table.recovery_begins()
        self.table.forget(tp.partition for tp in revoked if tp.topic == self.table.changelog_topic_name)

    async def on_recovery_completed(self, active_tps: set[TopicPartition], standby_tps: set[TopicPartition]) -> None:
        """Check what was read."""
        hold_flow(self.app)
        try:
            await self.table.recovery_ends({tp.partition for tp in active_tps})
        except Exception as error:
            self.table.on_failure(error)
