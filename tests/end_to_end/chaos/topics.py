"""Reading topics back whole, with offsets and the times at which the broker took each record."""

import time
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

READ_AT_ONCE = 5_000
# `consume` waits for so long unless there are so many.
WAIT_S = 0.1
SILENCE_S = 30.0


class Record(NamedTuple):
    """A record as it stands in its topic."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset."""
        return self.partition, self.offset


def read_topic(servers: str, topic: str, partitions: int) -> list[Record]:
    """Return all records that are in the topic now, each partition's in its order."""
    consumer = Consumer(reader_options(servers))
    records: list[Record] = []
    unread = set(range(partitions))
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        silent_since = time.monotonic()
        while unread:
            messages = consumer.consume(READ_AT_ONCE, WAIT_S)
            if messages:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENCE_S:
                raise TimeoutError(f"{topic} was not read to its end: nothing came for {SILENCE_S} s")
            for message in messages:
                if message.error() is None:
                    records.append(as_record(message))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                elif message.error().fatal():
                    raise KafkaException(message.error())
    finally:
        consumer.close()
    return records


def reader_options(servers: str) -> dict[str, Any]:
    """Return the options of a consumer outside any group that is told when a partition is at its end."""
    return {
        "bootstrap.servers": servers,
        "group.id": "nobody",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "queued.max.messages.kbytes": 262_144,
        "log_level": 0,
    }


def as_record(message: Any) -> Record:
    """Turn confluent-kafka's message into ours."""
    headers = list(message.headers() or [])
    return Record(
        message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value(), headers
    )
