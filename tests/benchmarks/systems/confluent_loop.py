"""The floor: a confluent-kafka consumer and producer, a dictionary, and nothing that could be left out.

Per click one decode, two records, and a delivery report of its own for each; a batch is committed when all of its
records are acknowledged. No recovery, no rebalance, no expiry, no order between list and changelog.
"""

from confluent_kafka import Consumer, Producer

from tests.benchmarks.systems.arguments import read_arguments

BATCH = 512


def main() -> None:
    """Serve until killed."""
    servers, clicks, output, changelog, group, work = read_arguments()
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 500,
        }
    )
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

    states: dict[bytes, bytes] = {}
    consumer.subscribe([clicks])
    while True:
        batch = consumer.consume(BATCH, 0.05)
        for message in batch:
            key = message.key()
            states[key], answer = work.handle(message.value(), states.get(key))
            producer.produce(output, answer, key, on_delivery=report)
            producer.produce(changelog, states[key], key, on_delivery=report)
        if batch:
            producer.flush()
            if failed:
                raise SystemExit(f"{len(failed)} records were not written: {failed[0]}")
            newest = {message.partition(): message for message in batch}
            for message in newest.values():
                consumer.store_offsets(message)


if __name__ == "__main__":
    main()
