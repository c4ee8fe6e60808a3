"""The export itself: topic in, Parquet out."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError, OffsetOutOfRangeError

from deploy.export.attributes import ItemHistory, read_catalogue
from deploy.export.parquet import Row, RowWriter, check_free, written_whole
from deploy.export.ranges import Bound, Range, find_ranges
from deploy.export.sieve import LeftOut, Sieve
from serving.events import Click
from stream.clients import POLL_MS, SILENCE_S, TopicReader, admin_client, require_topic, topic_reader
from stream.contract.incoming import Incoming
from stream.contract.topics import usable_id
from stream.errors import TopicError
from stream.settings import KafkaSettings, Settings
from training.data.readers.exported import EXPORT_FORMAT, METADATA_KEY


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    clicks: int
    ranges: dict[int, Range]
    left_out: LeftOut
    unreadable_items: int
    """Records of the catalogue topic that could not be read, and changed nothing."""

    def lines(self) -> Iterator[str]:
        """Yield what was read and what was left out, for people."""
        for partition, (first, end) in self.ranges.items():
            yield f"partition {partition}: " + (f"offsets {first} to {end - 1}" if end > first else "nothing")
        for reason, count in sorted(self.left_out.dead_letters.items()):
            yield f"left out as dead letters, {reason}: {count}"
        yield f"left out, without consent: {self.left_out.without_consent}; duplicates: {self.left_out.duplicates}"
        if self.unreadable_items:
            yield f"records of the catalogue that could not be read: {self.unreadable_items}"


def export_clicks(
    settings: Settings,
    out: Path,
    *,
    since: Bound | None = None,
    until: Bound | None = None,
    attributes: bool = True,
    report: Callable[[int, int], None] = lambda _read, _all: None,
) -> Exported:
    """Write the clicks that are in the topic now to a Parquet file, whole or not at all.

    Rows stand in the order of partition and offset: the same offsets give the same bytes, but for attributes that the
    catalogue topic has compacted away meanwhile, or that came into it with an earlier time. Left out is what the stream
    leaves out of its sessions: dead letters, duplicates, visitors without consent. The file's metadata say what was
    read, and `training` carries that into a bundle's manifest. `report` is called with the offsets read and to be read.

    In memory are one row group, one partition's live sessions and, with `attributes`, the catalogue topic.

    Args:
        settings: where Kafka is, the topics' names, session gap and length.
        out: the file; it must not exist.
        since: a broker's time or offsets to begin at; what is there when not given.
        until: a broker's time or offsets to end before; where the topic ends now when not given.
        attributes: join each item's attributes as they were in the catalogue topic when the broker took the click.
        report: told how far it is.

    Raises:
        WrongUse: `out` is not free, or the bounds do not fit the topic.
        BrokerError: Kafka is not reached, or does not let us read.
        TopicError: a topic is missing, or offsets asked for are gone.
        NextclickError: the disk refuses.

    """
    check_free(out)
    topic, kafka = settings.topics.clicks, settings.kafka
    require_topic(kafka, topic)
    origin = _origin(kafka, topic)
    with topic_reader(kafka, topic, from_beginning=True, skip_lost=False) as reader:
        ranges = find_ranges(reader, topic, since, until)
        # After the clicks' ends are known: then no click is exported that came after the catalogue's end.
        items = read_catalogue(kafka, settings.topics.catalogue) if attributes else None
        left_out = LeftOut()
        with written_whole(out) as rows:
            _write(rows, reader, ranges, items, left_out, settings, report)
            found = _description(settings, ranges, attributes) | {"clicks": rows.rows, "left_out": left_out.as_dict()}
            rows.describe(METADATA_KEY, msgspec.json.encode(origin | found, order="sorted"))
    return Exported(rows.rows, ranges, left_out, 0 if items is None else items.unreadable)


def _write(
    rows: RowWriter,
    reader: TopicReader,
    ranges: dict[int, Range],
    items: ItemHistory | None,
    left_out: LeftOut,
    settings: Settings,
    report: Callable[[int, int], None],
) -> None:
    done, total = 0, sum(end - first for first, end in ranges.values())
    for partition, wanted in ranges.items():
        sieve = Sieve(settings, left_out)
        for batch, position in _batches(reader.consumer, TopicPartition(settings.topics.clicks, partition), wanted):
            for record in batch:
                if (click := sieve.take(record)) is not None:
                    rows.add(to_row(record, click, items))
            report(done + position - wanted.first, total)
        done += wanted.end - wanted.first


def _batches(consumer: Any, partition: TopicPartition, wanted: Range) -> Iterator[tuple[list[Incoming], int]]:
    """Yield a partition's records as they come, each time with the offset that was reached."""
    consumer.assign([partition])
    consumer.seek(partition, wanted.first)
    position, heard = wanted.first, time.monotonic()
    # A transaction's marks fill offsets that give no record, so positions tell the end, not records.
    while position < wanted.end:
        try:
            batch = consumer.poll(timeout_ms=POLL_MS).get(partition, [])
        except OffsetOutOfRangeError as error:
            raise _lost(consumer, partition, position) from error
        reached = min(consumer.position(partition), wanted.end)
        if reached > position:
            position, heard = reached, time.monotonic()
            yield [_incoming(record) for record in batch if record.offset < wanted.end], position
        elif time.monotonic() - heard > SILENCE_S:
            raise KafkaTimeoutError(f"no record came for {SILENCE_S} s, though there are more")


def _lost(consumer: Any, partition: TopicPartition, position: int) -> TopicError:
    begin = consumer.beginning_offsets([partition])[partition]
    return TopicError(
        f"topic {partition.topic} partition {partition.partition}: retention removed {begin - position} offsets "
        f"({position} to {begin - 1}) before they were read; nothing was written. Export again, beginning later "
        "(--since), or keep clicks for longer (retention.ms)"
    )


def _incoming(record: Any) -> Incoming:
    return Incoming(
        record.partition, record.offset, record.timestamp, record.key, record.value, record.headers, record.topic
    )


def to_row(record: Incoming, click: Click, items: ItemHistory | None) -> Row:
    """Return what is written of a click; `items` is None where attributes are left out."""
    broker_ms = record.timestamp_ms if record.timestamp_ms >= 0 else None
    known_at_ms = click.timestamp_ms if broker_ms is None else broker_ms
    return Row(
        partition=record.partition,
        offset=record.offset,
        broker_timestamp_ms=broker_ms,
        event_id=click.event_id,
        session_id=click.session_id,
        item_id=click.item_id,
        timestamp_ms=click.timestamp_ms,
        event_type=click.event_type,
        user_id=click.user_id,
        context=None if click.context is None else msgspec.json.encode(click.context).decode(),
        item_attributes=None if items is None else items.at(click.item_id, known_at_ms),
    )


def _origin(kafka: KafkaSettings, topic: str) -> dict[str, str | None]:
    """Return what tells the topic from any other of its name: offsets begin anew where one is made again."""
    with admin_client(kafka) as client:
        cluster_id = client.describe_cluster()["cluster_id"]
        (found,) = client.describe_topics([topic])
    return {"topic": topic, "topic_id": usable_id(found.get("topic_id")), "cluster_id": cluster_id}


def _description(settings: Settings, ranges: dict[int, Range], attributes: bool) -> dict[str, Any]:
    """Return what was read, and how, so that the same offsets give the same bytes.

    It holds no clock, and of the catalogue its name only: where that ends now says nothing of what the items were when
    the clicks came. A partition whose last offset is before its first had nothing to read.
    """
    return {
        "format": EXPORT_FORMAT,
        "partitions": {str(number): {"first": first, "last": end - 1} for number, (first, end) in ranges.items()},
        "catalogue": settings.topics.catalogue if attributes else None,
        "session_gap_s": settings.serving.session_gap_s,
        "session_length": settings.serving.session_length,
    }
