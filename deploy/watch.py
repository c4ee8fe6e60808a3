"""Following the recommendations topic, for people: lists as they come, with titles where a bundle has them."""

from collections.abc import Callable, Generator
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import msgspec

from serving.events import Recommendation, decode_recommendation
from serving.recommender import MODEL_SOURCES
from stream.clients import topic_reader
from stream.settings import KafkaSettings


class Watched(NamedTuple):
    """One record of the recommendations topic: its Kafka time, its value as it stands, and the list in it."""

    timestamp_ms: int
    value: bytes
    recommendation: Recommendation


def watch_lists(
    kafka: KafkaSettings,
    topic: str,
    *,
    session: str | None = None,
    from_beginning: bool = False,
    limit: int | None = None,
) -> Generator[Watched, None, None]:
    """Yield lists as they come, from the topic's end or beginning on, outside any consumer group; for ever, or `limit`.

    Within a session the order is that of its clicks. What is no list is passed over.

    Raises:
        BrokerError: Kafka is not reached.
        TopicError: there is no such topic.

    """
    with topic_reader(kafka, topic, from_beginning=from_beginning) as reader:
        lists = (_watched(record.timestamp, record.value) for record in reader.records())
        wanted = (found for found in lists if found and session in {None, found.recommendation.session_id})
        yield from islice(wanted, limit)


def _watched(timestamp_ms: int, value: bytes | None) -> Watched | None:
    try:
        return Watched(timestamp_ms, value or b"", decode_recommendation(value or b""))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def as_line(found: Watched, title_of: Callable[[str], str], top: int) -> str:
    """Return a list as one line: the time it was made, its session, and its first items."""
    time = datetime.fromtimestamp(found.timestamp_ms / 1000).strftime("%H:%M:%S.%f")[:-3]
    items = " · ".join(title_of(item.item_id) for item in found.recommendation.items[:top])
    fallback = "" if found.recommendation.source in MODEL_SOURCES else f"({found.recommendation.source}) "
    return f"{time}  {found.recommendation.session_id}  {fallback}{items}"
