"""The same bare loop on an aiokafka consumer, with either library's producer: the last argument names it.

It shows what the choice of nextclick's transport, aiokafka reads and librdkafka writes, is worth.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Producer

from tests.benchmarks.systems.arguments import Arguments, read_arguments

BATCH = 512

Record = tuple[str, bytes, bytes]
Publish = Callable[[list[Record]], Awaitable[None]]


async def aiokafka_producer(servers: str) -> Publish:
    """Return what writes records through aiokafka, and waits for all of them."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, compression_type="lz4", linger_ms=5)
    await producer.start()

    async def publish(records: list[Record]) -> None:
        await asyncio.gather(*[await producer.send(topic, value, key) for topic, key, value in records])

    return publish


async def librdkafka_producer(servers: str) -> Publish:
    """Return what writes records through librdkafka, and waits for all of them."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 2,
            "queue.buffering.max.messages": 100_000,
        }
    )
    failed: list[str] = []

    def report(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    async def publish(records: list[Record]) -> None:
        for topic, key, value in records:
            producer.produce(topic, value, key, on_delivery=report)
        await asyncio.get_running_loop().run_in_executor(None, producer.flush)
        if failed:
            raise SystemExit(f"{len(failed)} records were not written: {failed[0]}")

    return publish


async def serve(arguments: Arguments, new_producer: Callable[[str], Awaitable[Publish]]) -> None:
    """Serve until killed."""
    servers, clicks, output, changelog, group, work = arguments
    consumer = AIOKafkaConsumer(
        clicks, bootstrap_servers=servers, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    publish = await new_producer(servers)
    states: dict[bytes, bytes] = {}
    while True:
        found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
        records: list[Record] = []
        for message in (message for messages in found.values() for message in messages):
            states[message.key], answer = work.handle(message.value, states.get(message.key))
            records += [(output, message.key, answer), (changelog, message.key, states[message.key])]
        if records:
            await publish(records)
            await consumer.commit()


if __name__ == "__main__":
    producers = {"aiokafka": aiokafka_producer, "librdkafka": librdkafka_producer}
    uvloop.run(serve(read_arguments(), producers[sys.argv[7]]))
