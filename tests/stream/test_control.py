import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import closing

import pytest
from kafka import KafkaProducer

from stream.contract.topics import create_topics
from stream.control import ControlReader
from stream.settings import Settings


@contextlib.asynccontextmanager
async def running(reader: ControlReader):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(reader.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_control_topics_are_read_whole_and_followed(
    broker: str, new_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    settings = new_settings(broker)
    create_topics(settings)
    with closing(KafkaProducer(bootstrap_servers=broker)) as producer:
        for n in range(20):
            producer.send(settings.topics.catalogue, b"{}", f"i{n}".encode())
        producer.flush()
        caplog.set_level(logging.WARNING, "stream.control")
        reader = ControlReader(settings)

        def told_of(topic: str) -> bool:
            return any(topic in line.getMessage() for line in caplog.records if line.name == "stream.control")

        async with running(reader), asyncio.timeout(30):
            await reader.read.wait()
            assert told_of(settings.topics.catalogue)
            assert not told_of(settings.topics.rules)
            producer.send(settings.topics.rules, b"{}", b"default").get(timeout=30)
            while not told_of(settings.topics.rules):
                await asyncio.sleep(0.01)
    assert reader.control.revision == "0"
