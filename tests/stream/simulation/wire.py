"""What stands between a worker and the broker: aiokafka's connections, and librdkafka."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaError

from tests.stream.simulation.broker import NODES, Broker, Content, Headers
from tests.stream.simulation.clock import Process

TRAVEL_S = 0.0005
# Of each kind of request, the version that the broker understands, by Kafka's number for it.
VERSIONS = {3: 1, 10: 0, 11: 5, 14: 3, 12: 1, 13: 0, 8: 2, 9: 1, 2: 1, 1: 4}


def partition_of(key: bytes, partitions: int) -> int:
    """Return where Java's clients put a key."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class Network:
    """The way between processes and the broker, and what is wrong with it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.connections: set[Connection] = set()
        self.producers: list[Producer] = []
        self.report_s = TRAVEL_S
        """How long a delivery report takes."""
        self.late_s: dict[str, float] = {}
        """By topic, how long one takes where that is not the usual time."""
        self.cut_off: set[tuple[Process, str]] = set()
        """Processes that do not reach a node; what they send is lost, and so is what is sent to them."""

    def reaches(self, process: Process, node: str = NODES[0]) -> bool:
        """Tell whether a process and a node hear each other."""
        return self.broker.up and (process, node) not in self.cut_off

    async def connect(self, host: str, port: int, **options: Any) -> "Connection":
        """Do what `aiokafka.conn.create_conn` does."""
        process = self._running
        host = host if host in NODES.values() else NODES[0]
        await asyncio.sleep(TRAVEL_S)
        if not self.reaches(process, host):
            raise KafkaConnectionError(f"no connection to {host}")
        connection = Connection(self, process, host, options.get("on_close"))
        connection.timeout_s = options["request_timeout_ms"] / 1000
        self.connections.add(connection)
        return connection

    def producer(self, options: Mapping[str, Any], **_: Any) -> "Producer":
        """Do what `confluent_kafka.Producer` does."""
        producer = Producer(self, self._running, options)
        self.producers.append(producer)
        return producer

    @property
    def _running(self) -> Process:
        process = self.broker.clock.running
        assert process is not None, "only a process has connections"
        return process

    def stop_broker(self) -> None:
        """The broker goes away; its memory stays."""
        self.broker.up = False
        for connection in list(self.connections):
            connection.process.tell(connection.close, CloseReason.CONNECTION_BROKEN)

    def start_broker(self) -> None:
        """The broker is there again."""
        self.broker.up = True
        self.heal()

    def cut(self, process: Process, *nodes: str) -> None:
        """Let a process and some nodes, or all of them, not hear each other any more."""
        self.cut_off |= {(process, node) for node in nodes or NODES.values()}

    def heal(self) -> None:
        """Let everybody hear each other."""
        self.cut_off.clear()
        for producer in self.producers:
            producer.transmit()


class Connection:
    """What aiokafka takes for a connection to a node."""

    def __init__(self, network: Network, process: Process, host: str, on_close: Callable[..., None] | None) -> None:
        self._network = network
        self.process = process
        self._host = host
        self._on_close = on_close
        self._open = True
        self._requests: set[asyncio.Future[Any]] = set()
        self.timeout_s = 40.0

    def send(self, request: Any, expect_response: bool = True) -> Coroutine[Any, Any, Any]:
        """Send a request and return its answer, for which aiokafka waits for so long at most."""
        if not self._open:
            raise KafkaConnectionError(f"no connection to {self._host}")
        built = request.prepare({key: (version, version) for key, version in VERSIONS.items()})
        answer: asyncio.Future[Any] = self.process.loop.create_future()
        self._requests.add(answer)
        answer.add_done_callback(self._requests.discard)
        clock = self._network.broker.clock

        def reply(**fields: Any) -> None:
            response = built.RESPONSE_TYPE(**fields)
            clock.after(TRAVEL_S, lambda: arrive(response))

        def arrive(response: Any) -> None:
            if self._network.reaches(self.process, self._host):
                self.process.tell(lambda: None if answer.done() else answer.set_result(response))

        def travel() -> None:
            if self._network.reaches(self.process, self._host) and self._open:
                self._network.broker.answer(built, reply)

        def leave() -> None:
            self.process.when_it_runs(travel)

        clock.after(TRAVEL_S, leave)
        return self._answer(answer)

    async def _answer(self, answer: "asyncio.Future[Any]") -> Any:
        # aiokafka has `wait_for` here. Python 3.11's forgets that it was cancelled where the answer comes in the very
        # same turn: then a consumer's `stop` waits for ever, and the worker ends by its timer.
        async with asyncio.timeout(self.timeout_s):
            return await answer

    def connected(self) -> bool:
        """Tell whether it is open."""
        return self._open

    def close(self, reason: Any = None, exc: Any = None) -> "asyncio.Future[None]":
        """Close it; who waits for an answer gets an error."""
        closed = self.process.loop.create_future()
        closed.set_result(None)
        if self._open:
            self._open = False
            self._network.connections.discard(self)
            for answer in list(self._requests):
                if not answer.done():
                    answer.set_exception(KafkaConnectionError(f"connection to {self._host} closed"))
            if self._on_close is not None:
                self._on_close(self, reason)
        return closed


@dataclass(frozen=True)
class Message:
    """What librdkafka tells of a record in its delivery report."""

    place: tuple[str, int]
    content: Content
    on_delivery: Callable[[Any, "Message"], None]
    until: float
    written_at: int = -1001

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.written_at

    def value(self) -> bytes | None:
        return self.content[1]


class Producer:
    """What our transport takes for librdkafka: a queue, a thread that sends, reports that `poll` gives.

    Idempotent: what is sent arrives once, in order, or is reported as not written; and what was written is reported
    late where the network was away meanwhile.
    """

    def __init__(self, network: Network, process: Process, options: Mapping[str, Any]) -> None:
        self._network = network
        self._process = process
        self._timeout_s = options["message.timeout.ms"] / 1000
        self._queue: list[Message] = []
        self._unreported = 0
        self._reports: list[tuple[Any, Message]] = []
        self._leaving = False
        self.full = False
        """Whether its queue is full."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        on_delivery: Callable[[Any, Message], None],
        headers: Headers | None = None,
    ) -> None:
        """Queue a record."""
        if self.full:
            raise BufferError("Local: Queue full")
        clock, count = self._network.broker.clock, self._network.broker.topics[topic]
        number = partition_of(key, count) if partition < 0 and key is not None else max(partition, 0)
        until = clock.now + self._timeout_s
        self._queue.append(Message((topic, number), (key, value, headers or ()), on_delivery, until))
        clock.after(self._timeout_s, self._expire)
        if not self._leaving:
            self._leaving = True
            clock.after(TRAVEL_S, self.transmit)

    def queued(self, topic: str) -> int:
        """Return how many records for a topic have not been sent."""
        return sum(message.topic() == topic for message in self._queue)

    def __len__(self) -> int:
        return len(self._queue) + self._unreported + len(self._reports)

    def poll(self, timeout: float) -> int:
        """Call back for the reports that have come."""
        reports, self._reports = self._reports, []
        for error, message in reports:
            message.on_delivery(error, message)
        return len(reports)

    def transmit(self) -> None:
        """Send what is queued: librdkafka's own thread does."""
        self._process.when_it_runs(self._transmit)

    def _transmit(self) -> None:
        self._leaving = False
        if not self._network.reaches(self._process):
            return
        queue, self._queue = self._queue, []
        self._unreported += len(queue)
        batches: dict[tuple[str, int], list[Message]] = {}
        for message in queue:
            refuse = self._network.broker.refusals.get(message.topic(), lambda message: None)
            if (error := refuse(message)) is not None:
                self._report(KafkaError(error), message)
            else:
                batches.setdefault(message.place, []).append(message)
        for (topic, number), messages in batches.items():
            offsets = self._network.broker.append(topic, number, [message.content for message in messages])
            for message, offset in zip(messages, offsets, strict=True):
                self._report(None, replace(message, written_at=offset))

    def _report(self, error: Any, message: Message) -> None:
        def arrive() -> None:
            if not self._network.reaches(self._process):
                # The answer was lost; librdkafka asks again, and the broker knows that it has the record.
                self._network.broker.clock.after(0.1, lambda: self._process.when_it_runs(arrive))
                return
            self._unreported -= 1
            self._reports.append((error, message))

        seconds = self._network.late_s.get(message.topic(), self._network.report_s)
        self._network.broker.clock.after(seconds, lambda: self._process.when_it_runs(arrive))

    def _expire(self) -> None:
        self._process.when_it_runs(self._time_out)

    def _time_out(self) -> None:
        now = self._network.broker.clock.now
        late = [message for message in self._queue if message.until <= now]
        self._queue = [message for message in self._queue if message.until > now]
        self._reports += [(KafkaError(KafkaError._MSG_TIMED_OUT), message) for message in late]
