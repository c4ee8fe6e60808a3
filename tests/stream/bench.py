"""A real application with only Kafka replaced: what is written is recorded, and acknowledged when a test says so."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from confluent_kafka import KafkaError
from faust.types import TP

from serving.events import Click, encode_click
from stream.app import Application
from stream.contract.incoming import Incoming
from stream.metrics import Metrics
from stream.state.table import RESERVED
from stream.transport.membership import Membership
from stream.transport.producer import Outgoing, Receipt
from tests.stream.transport.reading import reading

CHANGELOG = "nextclick-sessions-changelog"
MINUTE_MS = 60_000
NOW_MS = 1_700_000_000_000


def click(number: int, session: str = "s1", item: str = "i1", at_ms: int = NOW_MS) -> Click:
    return Click(f"e{number}", session, item, at_ms)


async def until(effect: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not effect():
            await asyncio.sleep(0)


async def many_turns() -> None:
    """Let whatever can go on go on, often enough for all that a batch does at once."""
    for _ in range(20):
        await asyncio.sleep(0)


class Written(NamedTuple):
    """What librdkafka tells about a record in its delivery report."""

    record: Outgoing
    at: int

    def topic(self) -> str:
        return self.record.topic

    def partition(self) -> int:
        return self.record.partition or 0

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes | None:
        return self.record.value


class Wire:
    """Takes the place of Faust's producer."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.ends: Counter[tuple[str, int]] = Counter()
        self.held: dict[str, list[Callable[[], None]]] = {}
        self.refused: set[str] = set()

    def write(self, records: Iterable[Outgoing], receipt: Receipt) -> None:
        for record in records:
            self.sent.append(record)
            report = partial(receipt, *self._deliver(record))
            if record.topic in self.held:
                self.held[record.topic].append(report)
            else:
                asyncio.get_running_loop().call_soon(report)

    def write_patiently(self, records: Iterable[Outgoing], receipt: Receipt) -> None:
        self.write(records, receipt)

    def forget(self) -> None:
        """All has been sent."""

    def _deliver(self, record: Outgoing) -> tuple[KafkaError | None, Written]:
        place = record.topic, record.partition or 0
        written = Written(record, self.ends[place])
        if record.topic in self.refused:
            return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), written
        self.ends[place] += 1
        return None, written

    def hold(self, topic: str) -> None:
        """Acknowledge nothing of this topic until it is released."""
        self.held[topic] = []

    def release(self, topic: str, count: int | None = None) -> None:
        """Acknowledge what was held, or so many records of it and hold the rest."""
        reports = self.held[topic] if count is not None else self.held.pop(topic)
        going = reports[:count]
        del reports[:count]
        for report in going:
            report()

    def of(self, topic: str) -> list[Outgoing]:
        return [record for record in self.sent if record.topic == topic]

    @property
    def lists(self) -> list[Outgoing]:
        return self.of("recommendations")

    @property
    def states(self) -> list[Outgoing]:
        """What was written to the changelog of sessions, tombstones included."""
        return [record for record in self.of(CHANGELOG) if not (record.key or b"").startswith(RESERVED)]

    @property
    def tombstones(self) -> list[Outgoing]:
        return [record for record in self.states if record.value is None]


class Inlet:
    """Takes the place of Faust's consumer."""

    def __init__(self) -> None:
        self.now = 100.0
        membership = Membership(10.0, lambda: self.now)
        membership.confirm(self.now)
        self._thread = SimpleNamespace(membership=membership, _ensure_consumer=self._aiokafka)
        self._committed_offset: dict[TP, int] = {}
        self._read_offset: dict[TP, int] = {}
        self.ends: dict[TP, int] = {}
        """Where the partitions end, as far as a fetch has told."""

    def _aiokafka(self) -> Any:
        """Return aiokafka's consumer, which stands at the start of each partition."""
        return reading(dict.fromkeys(self.ends, 0), ends=self.ends)._thread._ensure_consumer()

    def assignment(self) -> set[TP]:
        return set(self.ends)

    def highwater(self, tp: TP) -> int | None:
        return self.ends.get(tp)

    def commit_up_to(self, partition: int, offset: int) -> None:
        self._committed_offset[TP("clicks", partition)] = offset

    def lose_heartbeats(self) -> None:
        """More than half of a session timeout passes without a heartbeat."""
        self.now += 6.0

    def heartbeat(self) -> None:
        self._thread.membership.confirm(self.now)


class Bench(NamedTuple):
    application: Application
    wire: Wire
    inlet: Inlet
    metrics: Metrics

    def record(
        self, value: Click | bytes | None, offset: int, partition: int = 0, key: Any = None, **changes: Any
    ) -> Any:
        """A record of the clicks as the transport gives it."""
        timestamp_ms = value.timestamp_ms if isinstance(value, Click) else 0
        if isinstance(value, Click):
            key, value = key or value.session_id.encode(), encode_click(value)
        fields = {"timestamp_ms": timestamp_ms, "headers": (), "topic": "clicks", **changes}
        return Incoming(partition=partition, offset=offset, key=key, value=value, **fields)

    async def accept(self, records: Sequence[Any], still_ours: Callable[[], bool] = lambda: True) -> None:
        """Hand a batch to the pipeline, as the transport does."""
        await self.application.pipeline.accept(records, still_ours)

    async def serve(self, records: Sequence[Any]) -> None:
        """Bring a batch to its end."""
        await self.accept(records)
        async with asyncio.timeout(10):
            await self.application.pipeline.settle()

    async def begin(self) -> None:
        """Bring an event at offset 0 of partitions 0 and 1 to its end: what is written once has then been written."""
        await self.serve([self.record(b"", offset=0, partition=partition, key=b"k") for partition in (0, 1)])
        self.wire.sent.clear()

    @property
    def finished(self) -> dict[int, int]:
        return self.application.pipeline.finished

    @property
    def failure(self) -> Exception | None:
        return self.application.failure.error

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"nextclick_stream_{name}", labels) or 0.0
