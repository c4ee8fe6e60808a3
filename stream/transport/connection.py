"""aiokafka's consumer, as Faust's "consumer thread" has it, without the thread.

In the loop: Faust runs the consumer in a thread of its own, so that heartbeats go on while the loop is busy. Each call
for records then costs two hand-overs between threads that fight for the interpreter: measured on two cores, 0.3 ms of a
click's latency and 250 us of CPU for a lone click. Our loop is never busy for long (large batches are computed in a
thread), and a worker whose loop hangs should lose its partitions, not keep them.

The wait: Faust asks every broker to hold an empty fetch for 1.5 s. Kafka answers a waiting fetch as soon as a record
arrives, so its wait costs nothing. Tansu, the embedded broker, looks again only twice in the time that it was told to
wait: measured with kafka-python at 200 clicks/s, the median click arrived after 130 ms of a wait of 500 ms, and after
4 ms of one of 10 ms.

The end of a changelog: Faust asks for it (ListOffsets) and ends a recovery there. Tansu answers with the first offset
of the last batch plus one, so the rest of that batch would be missing from the table. A fetch tells the end on every
broker, so the later of the two counts.

The records: aiokafka makes an object of eleven fields of each, 1.5 us; ours has those that are used.

The broken connection: to write to a transport that the peer has just closed is an `OSError` with asyncio's loop, which
aiokafka expects, and a `RuntimeError` with uvloop's, which it does not. It ended the task that asks for the cluster's
metadata, silently, and with it all search for a coordinator: found by `make chaos`, a worker that did nothing more
after a broker had been killed.

The commits: Kafka keeps them by the topic's name. When `clicks` is deleted and made again, a worker that has not
noticed yet commits where it stood in the old one, and whoever reads the new one goes on from there: found by `make
chaos`, a thousand clicks skipped. So each commit says which topic it counts in, and one that counts in another is not
used.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as stock
from mode.utils.futures import maybe_async

from stream.contract.incoming import Incoming
from stream.transport.membership import Membership

# What a commit's metadata begins with; the topic's id follows.
STAMP = "topic_id="
LOG = logging.getLogger(__name__)

TopicPartition = Any
Records = Mapping[TopicPartition, list[Incoming]]


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetch from one partition."""

    def _consumer_record(self, tp: TopicPartition, record: Any) -> Incoming:
        return Incoming(
            tp.partition, record.offset, record.timestamp, record.key, record.value, record.headers, tp.topic
        )


fetcher.PartitionRecords = _Records
_send = AIOKafkaConnection.send


def send(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    """Send a request; a connection that is closed already is a connection error, whatever the loop calls it."""
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"connection at {connection.host}:{connection.port} is closed: {error}") from error


AIOKafkaConnection.send = send


def _is_of_another_topic(metadata: str | None, stamp: str) -> bool:
    """Tell whether a commit names another topic; other programs that set offsets name none."""
    return (metadata or "").startswith(STAMP) and metadata != stamp


class Connection(stock.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread as a service of the loop that it is started in."""

    mundane_level = "debug"
    # Faust's thread is waited for when it stops; there is none.
    wait_for_shutdown = False

    def __init__(self, consumer: Any, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **options)
        self.membership = Membership(self.app.conf.broker_session_timeout)

    # --- a service, not a thread

    async def start(self) -> None:
        """Start in this loop."""
        self._thread_started.set()
        await self._default_start()

    async def on_stop(self) -> None:
        """Leave the group and close the connections."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Call it: there is no other thread."""
        return await maybe_async(fun(*args, **options))

    async def on_partitions_assigned(self, assigned: set[TopicPartition], generation_id: int = 0) -> None:
        """Faust's consumer begins a recovery. Whoever gets an assignment is a member."""
        self.membership.confirm(self.membership.now())
        await super().on_partitions_assigned(assigned, generation_id)

    # --- what is told to aiokafka

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.fetch_max_wait_ms
        return consumer

    async def on_start(self) -> None:
        """Connect, and listen to what the coordinator answers to heartbeats and to what ends aiokafka's tasks."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        heartbeat = coordinator._do_heartbeat

        async def confirmed_heartbeat() -> bool:
            asked_at = self.membership.now()
            taken: bool = await heartbeat()
            if taken:
                self.membership.confirm(asked_at)
            return taken

        coordinator._do_heartbeat = confirmed_heartbeat
        self._stamp_commits(coordinator)
        # What the coordinator cannot get over (a right that is missing) aiokafka raises to whoever asks for records
        # next. While partitions change hands nobody asks, and it would wait for ever.
        coordinator._push_error_to_user = partial(self._tell, coordinator._push_error_to_user)
        # aiokafka logs what these die of, and leaves a consumer that waits for ever.
        consumer = self._ensure_consumer()
        for task in (coordinator._coordination_task, consumer._fetcher._fetch_task, consumer._client._sync_task):
            task.add_done_callback(self._on_task_done)

    def _tell(self, push_error: Callable[[Exception], Any], error: Exception) -> Any:
        self.app.on_failure(error)
        return push_error(error)

    def _stamp_commits(self, coordinator: Any) -> None:
        """Let commits name the topic that they count in, and take none that counts in another."""
        if self.app.topic_id is None:
            return
        consumer = self._ensure_consumer()
        commit, fetch, stamp = consumer.commit, coordinator._do_fetch_commit_offsets, STAMP + self.app.topic_id

        async def stamped_commit(offsets: Mapping[TopicPartition, Any]) -> None:
            await commit({tp: OffsetAndMetadata(found.offset, stamp) for tp, found in offsets.items()})

        async def fetch_ours(partitions: Any) -> dict[TopicPartition, Any]:
            fetched: dict[TopicPartition, Any] = await fetch(partitions)
            others = {tp: found for tp, found in fetched.items() if _is_of_another_topic(found.metadata, stamp)}
            for tp, found in others.items():
                LOG.warning(
                    "committed offset is not used: it counts in an earlier topic of this name, which was deleted "
                    "topic=%s partition=%d offset=%d metadata=%s",
                    *(tp.topic, tp.partition, found.offset, found.metadata),
                )
            return {tp: found for tp, found in fetched.items() if tp not in others}

        consumer.commit, coordinator._do_fetch_commit_offsets = stamped_commit, fetch_ours

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.app.on_failure(error)

    # --- what is asked of aiokafka

    async def fetch(self, partitions: frozenset[TopicPartition], timeout_s: float, most: int) -> Records:
        """Return records that have come from some partitions, at most so many; wait for the first one."""
        found: Records = await self._fetch_records(
            self._ensure_consumer(), partitions, timeout=timeout_s, max_records=most
        )
        return found

    async def _highwaters(self, partitions: Any) -> Mapping[TopicPartition, int]:
        ends: Mapping[TopicPartition, int] = await super()._highwaters(partitions)
        consumer = self._ensure_consumer()
        fetched: dict[TopicPartition, int] = {}
        # aiokafka fetches from every partition as soon as it is assigned. One that is revoked meanwhile is not waited
        # for; the next assignment asks again.
        while waiting := (consumer.assignment() & set(partitions)) - fetched.keys():
            fetched |= {tp: end for tp in waiting if (end := consumer.highwater(tp)) is not None}
            await asyncio.sleep(0.005)
        return {tp: max(end, fetched.get(tp, end)) for tp, end in ends.items()}
