"""A real application with only Kafka replaced: what is sent is recorded, and acknowledged when a test says so."""

import asyncio
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiokafka.errors import InvalidTopicError
from faust.types.tuples import TP, ConsumerMessage

from serving.events import Click, encode_click
from stream.app import Application
from stream.metrics import Metrics

CHANGELOG = "nextclick-sessions-changelog"
MINUTE_MS = 60_000


class Sent(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: list[tuple[str, bytes]] | None


class Wire:
    """Takes the place of Faust's producer."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.held: dict[str, list[asyncio.Future[None]]] = {}
        self.refused: set[str] = set()

    async def send(
        self, topic: str, key: Any, value: Any, partition: int | None, timestamp: None, headers: Any
    ) -> "asyncio.Future[None]":
        self.sent.append(Sent(topic, key, value, partition, headers))
        report = asyncio.get_running_loop().create_future()
        if topic in self.held:
            self.held[topic].append(report)
        elif topic in self.refused:
            report.set_exception(InvalidTopicError())
        else:
            report.set_result(None)
        return report

    def hold(self, topic: str) -> None:
        """Acknowledge nothing of this topic until it is released."""
        self.held[topic] = []

    def release(self, topic: str) -> None:
        for report in self.held.pop(topic):
            report.set_result(None)

    def of(self, topic: str) -> list[Sent]:
        return [record for record in self.sent if record.topic == topic]


class Inlet:
    """Takes the place of Faust's consumer."""

    def __init__(self) -> None:
        self.committed: dict[TP, int] = {}
        self.tracked: list[ConsumerMessage] = []
        self.acknowledged: list[tuple[int, int]] = []

    @property
    def _committed_offset(self) -> dict[TP, int]:
        return self.committed

    def track_message(self, message: ConsumerMessage) -> None:
        self.tracked.append(message)

    def ack(self, message: ConsumerMessage) -> bool:
        self.acknowledged.append((message.partition, message.offset))
        return True


class Bench(NamedTuple):
    application: Application
    wire: Wire
    inlet: Inlet
    metrics: Metrics

    def event(self, click: Click | bytes, offset: int, partition: int = 0, key: bytes | None = None) -> Any:
        """An event as Faust's conductor would put it into the queue."""
        value = click if isinstance(click, bytes) else encode_click(click)
        timestamp_ms = 0 if isinstance(click, bytes) else click.timestamp_ms
        key = key if key is not None or isinstance(click, bytes) else click.session_id.encode()
        message = ConsumerMessage(
            "clicks", partition, offset, timestamp_ms / 1000, 1, [], key, value, None, generation_id=0
        )
        message.incref()
        return self.application.faust.create_event(key, value, [], message)

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"nextclick_stream_{name}", labels) or 0.0


def as_stream(queue: Any) -> SimpleNamespace:
    """What `batches` needs of a stream."""
    return SimpleNamespace(channel=SimpleNamespace(queue=queue))
