"""librdkafka writes: for a third of the CPU of aiokafka's producer, measured in the same loop (docs/benchmarks.md).

Idempotent and acknowledged by all replicas, which stock Faust has in its exactly-once mode only: Kafka drops a record
that is sent twice because its acknowledgement was lost.

A record is written when its own delivery report says so, without an error, and not before. `flush` proves nothing: it
returns when the queue is empty, whatever became of what was in it.

There are two clients. A list that somebody waits for leaves at once. States and the lists of a backlog may linger for a
moment and leave in few, large requests: librdkafka without a linger spins while five requests are on their way and more
records wait (`rd_kafka_msgq_allow_wakeup_at`, 2.16.0): 5.6 rounds of its thread for each list, measured in
`bench-framework`, a tenth of all CPU. Two clients keep no order between them, so lists change from one to the other
only when everything is acknowledged.
"""

import asyncio
import logging
from collections import Counter, deque
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
# What may linger does so for this long, in milliseconds.
BULK_LINGER_MS = 5.0
# Batches of so many lists are a backlog's, and batches of so few are not; between them nothing is changed.
BULK_FROM, PROMPT_BELOW = 128, 16
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
    _prompt: Any = None
    _bulk: Any = None
    _in_use: Any = None
    _timer: asyncio.TimerHandle | None = None

    async def on_start(self) -> None:
        """Make the clients; they connect by themselves."""
        options = self.app.producer_options
        patient = {**options, "linger.ms": max(options["linger.ms"], BULK_LINGER_MS)}
        self._prompt = confluent_kafka.Producer(options, logger=LOG)
        self._bulk = confluent_kafka.Producer(patient, logger=LOG)
        self._in_use = self._prompt
        self._held: deque[tuple[Iterable[Outgoing], Receipt]] = deque()

    def write(self, records: Iterable[Outgoing], receipt: Receipt) -> None:
        """Hand records over that somebody waits for; `receipt` gets a report for each, and knows how many there are.

        They are written in the order of the calls. `records` is gone through once, perhaps after this call.

        Raises:
            BufferError: more records wait than librdkafka keeps.
            confluent_kafka.KafkaException: a record cannot be written at all; none after it was handed over.

        """
        self._held.append((records, receipt))
        self._let_go()
        self._pump()

    def write_patiently(self, records: Sequence[Outgoing], receipt: Receipt) -> None:
        """Hand records over that nobody waits for, as `write` does; there is no order between these and those."""
        self._produce(self._bulk, records, receipt)
        self._pump()

    def forget(self) -> None:
        """Drop what has not been handed to librdkafka: the partitions that it answers have gone."""
        self._held.clear()

    def _let_go(self) -> None:
        """Hand over what is held, unless another client must be used for it that has to wait for the one in use."""
        while self._held:
            count, wanted = self._held[0][1].waiting, self._in_use
            if count >= BULK_FROM:
                wanted = self._bulk
            elif count < PROMPT_BELOW:
                wanted = self._prompt
            if wanted is not self._in_use and len(self._in_use):
                return
            self._in_use = wanted
            self._produce(wanted, *self._held.popleft())

    def _produce(self, client: Any, records: Iterable[Outgoing], receipt: Receipt) -> None:
        produce = client.produce
        for record in records:
            if record.headers:
                produce(record.topic, record.value, record.key, record.partition, receipt, headers=record.headers)
            else:
                produce(record.topic, record.value, record.key, record.partition, receipt)

    def _pump(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PUMP_S, self._serve)

    def _serve(self) -> None:
        self._timer = None
        try:
            self._prompt.poll(0)
            self._bulk.poll(0)
            if self._held and self.app.consumer._thread.membership.fresh:  # it may have gone while they were held
                self._let_go()
        except Exception as error:
            self.app.on_failure(error)
        if len(self._prompt) or len(self._bulk) or self._held:
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
        # More than the pipeline ever has on its way: with 100,000, the default, a large batch fails.
        "queue.buffering.max.messages": 1_000_000,
        # The same partition for a key as Java's and Python's clients choose.
        "partitioner": "murmur2_random",
        # A lone record should not wait for a whole segment of TCP.
        "socket.nagle.disable": True,
        "reconnect.backoff.max.ms": 1_000,
    }
