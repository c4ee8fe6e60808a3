"""librdkafka writes: for a third of the CPU of aiokafka's producer, measured in the same loop (docs/benchmarks.md).

Idempotent and acknowledged by all replicas, which stock Faust has in its exactly-once mode only: Kafka drops a record
that is sent twice because its acknowledgement was lost.

A record is written when its own delivery report says so, without an error, and not before. `flush` proves nothing: it
returns when the queue is empty, whatever became of what was in it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import confluent_kafka
import msgspec
from faust.transport.drivers.aiokafka import Producer as StockProducer

from stream.settings import KafkaSettings
from stream.transport.credentials import librdkafka_security

# How often it is looked whether reports have come, while some are waited for. Nobody who waits for a list waits for
# them.
PUMP_S = 0.005
LOG = logging.getLogger("librdkafka")

Headers = Sequence[tuple[str, bytes | None]]


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record to be written. Without a partition (-1) the key decides, as in Java's clients."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    headers: Headers | None = None


class Receipt:
    """Collects the delivery reports of some records, and calls `on_done` once when the last has come.

    `refused` tells the first error.
    """

    __slots__ = ("_on_done", "refused", "waiting")

    def __init__(self, waiting: int, on_done: Callable[["Receipt"], None]) -> None:
        self.waiting = waiting
        self.refused: str | None = None
        self._on_done = on_done

    def __call__(self, error: Any, message: Any) -> None:
        """Take one delivery report, as librdkafka gives it."""
        self.waiting -= 1
        if error is not None:
            self._refuse(error, message)
        if not self.waiting:
            self._on_done(self)

    def _refuse(self, error: Any, message: Any) -> None:
        if self.refused is None:
            size = len(message.value() or b"")
            self.refused = f"topic {message.topic()} did not take a record of {size} bytes ({error})"


_PARTITION = attrgetter("partition")


class OffsetReceipt(Receipt):
    """A receipt for records with a partition, all of one topic, that can tell their offsets.

    librdkafka reports a partition's records in their order, so the first and the last report are kept and no other.
    """

    __slots__ = ("_count", "_first", "_last")

    def __init__(self, records: Sequence[Outgoing], on_done: Callable[["Receipt"], None]) -> None:
        super().__init__(len(records), on_done)
        self._count = Counter(map(_PARTITION, records))
        self._first: dict[int, Any] = {}
        self._last: dict[int, Any] = {}

    def __call__(self, error: Any, message: Any) -> None:
        """Take one delivery report."""
        partition = message.partition()
        if partition not in self._first:
            self._first[partition] = message
        self._last[partition] = message
        # The rest is the receipt's own; to call it would cost more than it does.
        self.waiting -= 1
        if error is not None:
            self._refuse(error, message)
        if not self.waiting:
            self._on_done(self)

    def stretches(self) -> Iterator[tuple[int, int, int]]:
        """Give `(partition, oldest, newest)`: the offsets between which the records of a partition, and no other, are.

        A partition where records of somebody else are between them is left out.
        """
        for partition, count in self._count.items():
            oldest, newest = self._first[partition].offset(), self._last[partition].offset()
            if newest - oldest + 1 == count:
                yield partition, oldest, newest


class Producer(StockProducer):  # type: ignore[misc]
    """Faust's producer as a librdkafka client. What Faust itself would write through it, nobody here asks for."""

    mundane_level = "debug"
    _client: Any = None
    _timer: asyncio.TimerHandle | None = None

    async def on_start(self) -> None:
        """Make the client; it connects by itself."""
        self._client = confluent_kafka.Producer(self.app.producer_options, logger=LOG)

    def write(self, records: Iterable[Outgoing], receipt: Receipt) -> None:
        """Hand records over; `receipt` gets a report for each.

        Raises:
            BufferError: more records wait than librdkafka keeps.
            confluent_kafka.KafkaException: a record cannot be written at all; none after it was handed over.

        """
        produce = self._client.produce
        for record in records:
            if record.headers:
                produce(record.topic, record.value, record.key, record.partition, receipt, headers=record.headers)
            else:
                produce(record.topic, record.value, record.key, record.partition, receipt)
        self._pump()

    def _pump(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PUMP_S, self._serve)

    def _serve(self) -> None:
        self._timer = None
        try:
            self._client.poll(0)
        except Exception as error:
            self.app.on_failure(error)
        if len(self._client):
            self._pump()


def producer_options(kafka: KafkaSettings) -> Mapping[str, Any]:
    """Return librdkafka's configuration for these settings."""
    return {
        **librdkafka_security(kafka),
        "bootstrap.servers": ",".join(kafka.servers),
        "enable.idempotence": True,
        "linger.ms": kafka.linger_ms,
        "compression.type": kafka.compression,
        "message.timeout.ms": round(kafka.delivery_timeout_s * 1000),
        "message.max.bytes": 8 * 2**20,
        # The same partition for a key as Java's and Python's clients choose.
        "partitioner": "murmur2_random",
        # A lone record should not wait for a whole segment of TCP.
        "socket.nagle.disable": True,
        "reconnect.backoff.max.ms": 1_000,
    }
