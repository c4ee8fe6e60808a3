"""The control topics: read whole by every worker, outside its group, before it is ready, and followed from then on."""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from serving.control import Control
from stream.settings import Settings
from stream.transport.credentials import credentials

POLL_MS = 200
LOG = logging.getLogger(__name__)


class ControlReader:
    """Keeps the control state that lists are made under.

    Args:
        settings: of this process.

    """

    def __init__(self, settings: Settings) -> None:
        topics = settings.topics
        self._partitions = [
            TopicPartition(name, 0) for name in (topics.catalogue, topics.rules, topics.bundles, topics.erasures)
        ]
        self._settings = settings
        self._unheard: set[str] = set()
        self.control = Control()
        self.read = asyncio.Event()
        """Set when every control topic has been read to its end for the first time."""

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            KafkaError: the topics cannot be read, and trying again does not help.

        """
        kafka = self._settings.kafka
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka.servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=kafka.fetch_max_wait_ms,
            **credentials_to_aiokafka_auth(credentials(kafka)),
        )
        await consumer.start()
        try:
            consumer.assign(self._partitions)
            await self._follow(consumer)
        finally:
            await consumer.stop()

    async def _follow(self, consumer: Any) -> None:
        behind = set(self._partitions)
        while True:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._apply(record)
            if behind:
                behind = {partition for partition in behind if not await _at_end(consumer, partition)}
                if not behind:
                    self.read.set()

    def _apply(self, record: Any) -> None:
        """Apply one record; this version knows none that has an effect, and must not pretend that it does."""
        if record.topic not in self._unheard:
            self._unheard.add(record.topic)
            LOG.warning("control record has no effect in this version topic=%s offset=%d", record.topic, record.offset)


async def _at_end(consumer: Any, partition: Any) -> bool:
    # Not `end_offsets`: Tansu names the first offset of the last batch there. A fetch tells the end everywhere.
    end = consumer.highwater(partition)
    return end is not None and bool(await consumer.position(partition) >= end)
