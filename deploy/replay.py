"""Publishing clicks to Kafka at a steady rate, with kafka-python, as a producer of the service would."""

import gzip
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

from kafka.errors import KafkaError

from serving.errors import InvalidEvent, NextclickError, WrongUse
from serving.events import Click, decode_click, encode_click
from stream.clients import producer_client, require_topic
from stream.errors import BrokerError
from stream.settings import KafkaSettings

# Without an answer from Kafka for so long, a click counts as not sent.
DELIVERY_TIMEOUT_S = 60
# A replay waits for its oldest click before more than so many are on their way: memory stays bounded.
MOST_ON_THEIR_WAY = 10_000
GZIP = b"\x1f\x8b"
JSON_LINES = {".jsonl", ".ndjson", ".json"}


def replay_clicks(
    clicks: Iterable[Click],
    kafka: KafkaSettings,
    topic: str,
    *,
    rate: float,
    on_sent: Callable[[Click], None] = lambda _: None,
    stop: Event | None = None,
) -> int:
    """Send clicks in their order, keyed by session id, and return how many Kafka has acknowledged: all that were sent.

    An open loop: click i is due `i / rate` seconds after the first, whatever became of the others; `rate` 0 sends as
    fast as Kafka takes them. `on_sent` is called right before each click is handed over. `stop` ends the replay early,
    with what has been sent acknowledged.

    Raises:
        BrokerError: Kafka is not reached, or did not take a click; the message says how many it had taken.
        TopicError: there is no such topic.

    """
    stop = stop or Event()
    require_topic(kafka, topic)
    # At full speed clicks wait a moment for company; at a rate each goes at once, as a visitor's does.
    options = {"delivery_timeout_ms": DELIVERY_TIMEOUT_S * 1000, "linger_ms": 0 if rate else 5}
    with producer_client(kafka, **options) as producer:
        deliveries = _Deliveries(topic)
        began = time.monotonic()
        for i, click in enumerate(clicks):
            # Waiting for `stop` is sleeping that can be interrupted.
            if stop.wait(max(0.0, began + i / rate - time.monotonic()) if rate else 0.0):
                break
            on_sent(click)
            # The record's time is now, not the click's: a broker deletes old records, by that time, soon.
            deliveries.add(producer.send(topic, key=click.session_id.encode(), value=encode_click(click)))
        deliveries.wait(at_most_left=0)
        return deliveries.acknowledged


class _Deliveries:
    """Clicks that are on their way to Kafka, oldest first, and the number of those that have arrived."""

    def __init__(self, topic: str) -> None:
        self.acknowledged = 0
        self._topic = topic
        self._reports: deque[Any] = deque()

    def add(self, report: Any) -> None:
        """Add kafka-python's future for one click, and see what became of earlier ones."""
        self._reports.append(report)
        while self._reports and self._reports[0].is_done:
            self._take_oldest()
        self.wait(at_most_left=MOST_ON_THEIR_WAY)

    def wait(self, *, at_most_left: int) -> None:
        """Return when no more than so many are on their way; `BrokerError` when Kafka did not take one."""
        while len(self._reports) > at_most_left:
            self._take_oldest()

    def _take_oldest(self) -> None:
        try:
            self._reports.popleft().get(timeout=2 * DELIVERY_TIMEOUT_S)
        except KafkaError as error:
            raise BrokerError(
                f"topic {self._topic} took {self.acknowledged} clicks, then refused one ({error}); what came after it "
                "may or may not be there. Replaying all of them does no harm: their event ids are the same"
            ) from error
        self.acknowledged += 1


def read_clicks(path: Path, time_unit: str = "auto", max_bad_share: float = 0.01) -> list[Click]:
    """Read a click log in the order of event time; clicks of one millisecond stay in the order of the file.

    JSON lines that are complete click events, plain or gzipped, are sent as they are. Other layouts (those that
    training reads, with its options) give clicks whose ids are made from the log's fingerprint and the position, so a
    replay sends the same events again.

    Raises:
        WrongUse: there is no such file.
        NextclickError: the file is no click log.

    """
    if not path.is_file():
        raise WrongUse(f"there is no file {path}; name a click log, for example one of `nextclick generate`")
    if Path(path.name.removesuffix(".gz")).suffix in JSON_LINES and _begins_with_a_click(path):
        return sorted(_read_events(path), key=lambda click: click.timestamp_ms)
    from training.data.readers import ReadOptions, read_log

    return list(read_log(path, ReadOptions(time_unit, max_bad_share)).clicks())


def _begins_with_a_click(path: Path) -> bool:
    try:
        decode_click(next(_lines(path), (0, b""))[1])
    except InvalidEvent:
        return False
    return True


def _read_events(path: Path) -> Iterator[Click]:
    for number, line in _lines(path):
        try:
            yield decode_click(line)
        except InvalidEvent as error:
            raise NextclickError(f"line {number} of {path} is no click: {error}; correct or remove it") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    with path.open("rb") as probe:
        packed = probe.read(len(GZIP)) == GZIP
    try:
        with gzip.open(path) if packed else path.open("rb") as lines:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NextclickError(f"{path} is no whole gzipped file ({error}): fetch or pack it again") from error
