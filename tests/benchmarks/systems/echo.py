"""The floor for latency: an aiokafka consumer and a librdkafka producer that answer a click without thinking.

Two records for each, as large as a list and a state. Nothing is waited for, nothing is batched but what came together.
"""

import uvloop
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from tests.benchmarks.systems.arguments import Arguments, read_arguments


async def serve(arguments: Arguments) -> None:
    """Serve until killed."""
    consumer = AIOKafkaConsumer(
        arguments.clicks,
        bootstrap_servers=arguments.servers,
        group_id=arguments.group,
        auto_offset_reset="earliest",
        check_crcs=False,
        fetch_max_wait_ms=100,
        auto_commit_interval_ms=500,
    )
    producer = Producer(
        {
            "bootstrap.servers": arguments.servers,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 0,
            "queue.buffering.max.messages": 100_000,
        }
    )
    states: dict[bytes, bytes] = {}
    await consumer.start()
    while True:
        for messages in (await consumer.getmany(timeout_ms=1000)).values():
            for message in messages:
                key = message.key
                states[key], answer = arguments.work.handle(message.value, states.get(key))
                producer.produce(arguments.output, answer, key)
                producer.produce(arguments.changelog, states[key], key)
        producer.poll(0)


if __name__ == "__main__":
    uvloop.run(serve(read_arguments()))
