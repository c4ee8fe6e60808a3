"""Topics of a benchmark: made, filled, and watched while somebody reads or writes them."""

import uuid
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import TopicPartition as KafkaPartition
from kafka.admin import KafkaAdminClient, OffsetSpec

from tests.waiting import wait_for

PARTITIONS = 4
# Of everything that is written, by whatever system: the settings' own default.
COMPRESSION = "lz4"


def new_name(prefix: str) -> str:
    """Return a name that no other topic or group has."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


class Topics:
    """The topics on one broker.

    kafka-python asks, because librdkafka's admin client remembers that a new topic had no leader; librdkafka writes.
    """

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self._admin = KafkaAdminClient(bootstrap_servers=servers)

    def close(self) -> None:
        """Let go of the broker before it ends."""
        self._admin.close()

    def create(self, name: str, config: Mapping[str, str] | None = None) -> str:
        """Make a topic and return its name."""
        spec = {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": dict(config or {})}
        self._admin.create_topics({name: spec}, wait_for_metadata=True)
        return name

    def delete(self, *names: str) -> None:
        """Free the disk."""
        self._admin.delete_topics(list(names))

    def end(self, name: str) -> int:
        """Return how many records were ever written to a topic."""
        found = self._admin.list_partition_offsets(dict.fromkeys(partitions_of(name), OffsetSpec.LATEST))
        return sum(offset.offset for offset in found.values())

    def wait_for_records(self, name: str, count: int) -> None:
        """Return once so many records were written to a topic."""
        wait_for(lambda: self.end(name) >= count, 600, every_s=0.05)

    def committed(self, group: str, name: str) -> int:
        """Return how many records of a topic a group has behind it."""
        found = self._admin.list_group_offsets({group: partitions_of(name)})[group]
        return sum(max(0, offset.offset) for offset in found.values())

    def mean_bytes(self, name: str) -> int:
        """Return the mean size of a topic's values, 0 where there are none."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": new_name("sizes")})
        sizes: list[int] = []
        for number in range(PARTITIONS):
            partition = TopicPartition(name, number)
            first, end = consumer.get_watermark_offsets(partition)
            consumer.assign([TopicPartition(name, number, first)])
            left = end - first
            while left > 0 and (found := consumer.consume(min(left, 1000), 5)):
                left -= len(found)
                sizes += [len(message.value() or b"") for message in found]
        consumer.close()
        return sum(sizes) // max(1, len(sizes))

    def fill(self, name: str, records: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Write (key, value) records as fast as Kafka takes them; return how many it acknowledged."""
        producer = keyed_producer(self.servers, **{"linger.ms": 20, "queue.buffering.max.messages": 200_000})
        failed: list[str] = []
        count = 0

        def report(error: object, _: object) -> None:
            if error is not None:
                failed.append(str(error))

        for key, value in records:
            while True:
                try:
                    producer.produce(name, value, key, on_delivery=report)
                    break
                except BufferError:
                    producer.poll(0.05)
            count += 1
            if not count % 1000:
                producer.poll(0)
        producer.flush()
        assert not failed, f"{len(failed)} of {count} records were not written: {failed[0]}"
        return count


def keyed_producer(servers: str, **options: object) -> Producer:
    """Return a librdkafka producer that keeps order and puts keys where Java's clients put them."""
    base = {
        "bootstrap.servers": servers,
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "compression.type": COMPRESSION,
    }
    return Producer(base | options)


def partitions_of(name: str) -> list[KafkaPartition]:
    """Return the partitions of a topic."""
    return [KafkaPartition(name, number) for number in range(PARTITIONS)]
