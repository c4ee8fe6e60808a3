"""What the catalogue topic said of each item, and since when."""

from bisect import bisect_right

import msgspec

from stream.clients import topic_reader
from stream.errors import TopicError
from stream.settings import KafkaSettings


class ItemHistory:
    """Each item's attributes over time. In memory: about the size of the topic, which is compacted.

    `unreadable` counts records without a readable item id or with a value that is no JSON; they change nothing.
    """

    def __init__(self) -> None:
        self.unreadable = 0
        self._times: dict[str, list[int]] = {}
        self._values: dict[str, list[str | None]] = {}

    def add(self, key: bytes | None, value: bytes | None, timestamp_ms: int) -> None:
        """Take the topic's next record; a value that is null deletes the item."""
        try:
            item_id = (key or b"").decode()
            text = None if value is None else value.decode()
            if text is not None:
                msgspec.json.decode(text)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            self.unreadable += 1
            return
        if not item_id:
            self.unreadable += 1
            return
        times = self._times.setdefault(item_id, [])
        # A producer's clock may go back; the log's order does not.
        times.append(max(timestamp_ms, times[-1]) if times else timestamp_ms)
        self._values.setdefault(item_id, []).append(text)

    def at(self, item_id: str, timestamp_ms: int) -> str | None:
        """Return the attributes, as JSON, that the item had at that broker's time; None where it had none.

        A record of the same millisecond counts: whoever waited for its acknowledgement before a click was sent is
        then sure to find it with the click.
        """
        place = bisect_right(self._times.get(item_id, ()), timestamp_ms)
        return self._values[item_id][place - 1] if place else None


def read_catalogue(kafka: KafkaSettings, topic: str) -> ItemHistory:
    """Read the catalogue topic from its beginning to its present end.

    Raises:
        BrokerError: Kafka is not reached, or does not let us read.
        TopicError: there is no such topic.

    """
    items = ItemHistory()
    try:
        with topic_reader(kafka, topic, from_beginning=True) as reader:
            for record in reader.present_records():
                items.add(record.key, record.value, record.timestamp)
    except TopicError as error:
        raise TopicError(f"{error}; --without-attributes exports without the items' attributes") from error
    return items
