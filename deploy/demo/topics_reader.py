"""Reading whole topics back, with kafka-python, outside any consumer group."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

from serving.events import Recommendation, decode_recommendation
from stream.settings import KafkaSettings

POLL_MS = 50


def open_at_beginning(kafka: KafkaSettings, topic: str) -> tuple[Any, list[Any]]:
    """Return a consumer of all partitions of the topic, placed at their beginning, and these partitions."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        **kafka.client_options(), fetch_max_wait_ms=kafka.fetch_max_wait_ms, auto_offset_reset="earliest"
    )
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    return consumer, partitions


def read_values(kafka: KafkaSettings, topic: str) -> Iterator[bytes]:
    """Yield the values that the topic holds now, partition by partition."""
    consumer, partitions = open_at_beginning(kafka, topic)
    try:
        ends = consumer.end_offsets(partitions)
        records: dict[Any, list[bytes]] = {partition: [] for partition in partitions}
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for partition, batch in consumer.poll(timeout_ms=POLL_MS).items():
                records[partition] += [record.value for record in batch if record.offset < ends[partition]]
    finally:
        consumer.close()
    for partition in partitions:
        yield from records[partition]


def dump(kafka: KafkaSettings, topic: str, path: Path) -> int:
    """Write the topic's values to a file, one a line, as they are; return how many."""
    count = 0
    with path.open("wb") as file:
        for value in read_values(kafka, topic):
            file.write(value + b"\n")
            count += 1
    return count


class ListReader:
    """Reads the recommendations topic in a thread of its own, from its beginning on; a context manager."""

    def __init__(self, kafka: KafkaSettings, topic: str, received: Callable[[Recommendation], None]) -> None:
        self._consumer, _ = open_at_beginning(kafka, topic)
        self._received = received
        self._stop = Event()
        self._thread = Thread(target=self._run, name="list-reader", daemon=True)
        self.error: Exception | None = None

    def __enter__(self) -> "ListReader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for batch in self._consumer.poll(timeout_ms=POLL_MS).values():
                    for record in batch:
                        self._received(decode_recommendation(record.value))
        except Exception as error:  # handed to the main thread, which raises it
            self.error = error
