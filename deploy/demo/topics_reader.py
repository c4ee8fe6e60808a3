"""Reading the demo's topics back: the lists while they come, and whole topics at the end."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from serving.events import Recommendation, decode_recommendation
from stream.clients import POLL_MS, TopicReader, topic_reader
from stream.settings import KafkaSettings


def read_values(kafka: KafkaSettings, topic: str) -> list[bytes]:
    """Return the values that the topic holds now."""
    with topic_reader(kafka, topic, from_beginning=True) as reader:
        return [record.value for record in reader.present_records()]


def dump(kafka: KafkaSettings, topic: str, path: Path) -> None:
    """Write the topic's values to a file, one a line, as they are."""
    with path.open("wb") as file:
        file.writelines(value + b"\n" for value in read_values(kafka, topic))


class ListReader:
    """Reads the recommendations topic in a thread of its own, from its beginning on; a context manager."""

    def __init__(self, kafka: KafkaSettings, topic: str, received: Callable[[Recommendation], None]) -> None:
        self._stack = contextlib.ExitStack()
        self._source = (kafka, topic)
        self._received = received
        self._stop = Event()
        self.error: Exception | None = None

    def __enter__(self) -> "ListReader":
        kafka, topic = self._source
        reader = self._stack.enter_context(topic_reader(kafka, topic, from_beginning=True))
        thread = Thread(target=self._run, args=(reader,), name="list-reader", daemon=True)
        self._stack.callback(thread.join)
        self._stack.callback(self._stop.set)
        thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _run(self, reader: TopicReader) -> None:
        try:
            while not self._stop.is_set():
                for batch in reader.consumer.poll(timeout_ms=POLL_MS).values():
                    for record in batch:
                        self._received(decode_recommendation(record.value))
        except Exception as error:  # handed to the main thread, which raises it
            self.error = error
