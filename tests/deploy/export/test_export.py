"""Exporting from real brokers, and reading the file as recipes do."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kafka import TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from deploy.cli import build_app, run
from deploy.export import export_clicks, parse_bound
from deploy.export.ranges import Range
from deploy.export.run import _batches
from deploy.local.kafka import KafkaBroker
from deploy.local.process import free_port
from serving.events import Click, encode_click
from stream.clients import admin_client, producer_client, topic_reader
from stream.contract.topics import create_topics
from stream.errors import BrokerError, TopicError
from stream.settings import Settings
from training.data.clean import Preparation
from training.data.dataset import describe, read_training
from training.data.protocol import parse_protocol
from training.data.readers import read_log
from training.data.readers.exported import read_export

NewSettings = Callable[..., Settings]
Record = tuple[str | None, bytes | None, list[tuple[str, bytes]]]

NOW_MS = 1_700_000_000_000
STRUCTURED = [("content-type", b"application/cloudevents+json")]
BINARY = [("ce_specversion", b"1.0"), ("ce_id", b"b1"), ("ce_source", b"/"), ("ce_type", b"click")]


@pytest.fixture
def settings(broker: str, new_settings: NewSettings) -> Settings:
    settings = new_settings(broker, topics={"partitions": 3})
    create_topics(settings)
    return settings


def of(event: str, session: str, item: str, at_s: int, **fields: Any) -> Record:
    """A click as plain JSON, `at_s` seconds after NOW_MS."""
    return session, encode_click(Click(event, session, item, NOW_MS + 1000 * at_s, **fields)), []


def send(settings: Settings, topic: str, records: list[Record]) -> None:
    """Send one after the other, each acknowledged before the next."""
    with producer_client(settings.kafka) as producer:
        for key, value, headers in records:
            key_bytes = None if key is None else key.encode()
            producer.send(topic, key=key_bytes, value=value, headers=headers).get(timeout=30)


def send_everything(settings: Settings) -> None:
    """Two sessions as visitors and producers make them, and an item whose price changes between two clicks."""
    clicks, catalogue = settings.topics.clicks, settings.topics.catalogue
    binary = json.dumps({"session_id": "a", "item_id": "i2", "timestamp_ms": NOW_MS + 5_000}).encode()
    data = {"session_id": "a", "item_id": "i3", "timestamp_ms": NOW_MS + 6_000}
    structured = {"specversion": "1.0", "id": "c1", "source": "/", "type": "click", "data": data}
    send(settings, catalogue, [("i1", b'{"price":1}', [])])
    send(settings, clicks, [of("e1", "a", "i1", 9, context={"page": "home"}), of("e2", "b", "i1", 1, user_id="u")])
    clock_of_kafka_passes()
    send(settings, catalogue, [("i1", b'{"price":2}', []), ("i2", b'{"price":7}', []), ("i9", b"{oops", [])])
    send(
        settings,
        clicks,
        [
            ("a", binary, BINARY),  # late: 5 s after 9 s
            ("a", json.dumps(structured).encode(), STRUCTURED),
            of("e1", "a", "i1", 9),
            of("e3", "b", "i1", 2, event_type="purchase"),
            of("e4", "b", "i8", 3, consent=False),
            ("b", b"{oops", []),
            (None, of("e5", "b", "i8", 4)[1], []),
            ("b", b"{}", []),
            of("e6", "a", "i4", 20),
        ],
    )


def clock_of_kafka_passes() -> None:
    """Wait for the next millisecond: what Kafka gets from now on has another timestamp than what it got before."""
    began = time.time_ns() // 10**6
    while time.time_ns() // 10**6 < began + 2:
        pass


def test_what_the_stream_would_count_is_exported_with_what_was_known_then(settings: Settings, tmp_path: Path) -> None:
    send_everything(settings)
    steps: list[tuple[int, int]] = []
    out = tmp_path / "clicks.parquet"
    done = export_clicks(settings, out, report=lambda read, total: steps.append((read, total)))
    frame = pl.read_parquet(out)
    columns = ("session_id", "event_id", "item_id", "event_type", "user_id", "context", "item_attributes")
    assert sorted(frame.select(columns).rows(), key=lambda row: row[0]) == [
        ("a", "e1", "i1", "view", None, '{"page":"home"}', '{"price":1}'),
        ("a", "b1", "i2", "view", None, None, '{"price":7}'),
        ("a", "c1", "i3", "view", None, None, None),
        ("a", "e6", "i4", "view", None, None, None),
        ("b", "e2", "i1", "view", "u", None, '{"price":1}'),
        ("b", "e3", "i1", "purchase", None, None, '{"price":2}'),
    ]
    assert frame.select("partition", "offset").rows() == sorted(frame.select("partition", "offset").rows())
    assert done.clicks == 6
    assert done.left_out.dead_letters == {"not_json": 1, "missing_key": 1, "invalid": 1}
    assert (done.left_out.without_consent, done.left_out.duplicates, done.unreadable_items) == (1, 1, 1)
    assert steps[-1] == (11, 11)


def test_the_file_says_which_offsets_of_which_topic_it_holds(settings: Settings, tmp_path: Path) -> None:
    send_everything(settings)
    done = export_clicks(settings, tmp_path / "clicks.parquet")
    export = read_export(tmp_path / "clicks.parquet")
    assert export is not None
    assert export["topic"] == settings.topics.clicks
    assert export["cluster_id"]
    assert export["topic_id"]
    assert sum(part["last"] - part["first"] + 1 for part in export["partitions"].values()) == 11
    assert export["partitions"] == {
        str(number): {"first": first, "last": end - 1} for number, (first, end) in done.ranges.items()
    }
    assert export["catalogue"] == settings.topics.catalogue
    assert export["left_out"]["dead_letters"] == {"invalid": 1, "missing_key": 1, "not_json": 1}
    assert export["clicks"] == 6


def test_training_reads_the_order_of_the_stream_and_carries_the_offsets_into_the_manifest(
    settings: Settings, tmp_path: Path
) -> None:
    send_everything(settings)
    send(settings, settings.topics.clicks, [of(f"m{i}", f"s{i}", f"i{i % 3}", 30 + i // 2) for i in range(40)])
    send(settings, settings.topics.clicks, [of(f"n{i}", f"s{i}", f"i{i % 2}", 60 + i // 2) for i in range(40)])
    out = tmp_path / "clicks.parquet"
    export_clicks(settings, out)
    log = read_log(out)
    of_a = log.frame.filter(pl.col("session_id") == "a")
    assert of_a["item_id"].to_list() == ["i1", "i2", "i3", "i4"]
    assert of_a["timestamp_ms"].to_list() == [NOW_MS + ms for ms in (9_000, 5_000, 6_000, 20_000)]
    protocol, preparation = parse_protocol("next-item"), Preparation()
    training = read_training(out, protocol, preparation)
    assert describe(training, protocol, preparation)["exports"] == [read_export(out)]
    first = training.clicks.frame.filter(pl.col("session_id") == "a")
    assert first["item_id"].to_list() == ["i1", "i2", "i3", "i4"]


@pytest.mark.parametrize("attributes", [True, False])
def test_the_same_offsets_give_the_same_bytes_whatever_comes_later(
    settings: Settings, tmp_path: Path, attributes: bool
) -> None:
    send_everything(settings)
    done = export_clicks(settings, tmp_path / "one.parquet", attributes=attributes)
    clock_of_kafka_passes()
    changes: list[Record] = [("i1", b'{"price":3}', []), ("i3", b'{"price":9}', []), ("i2", None, [])]
    send(settings, settings.topics.catalogue, changes)
    send(settings, settings.topics.clicks, [of("late", "a", "i9", 90), of("later", "c", "i9", 91)])
    until = {number: end for number, (_, end) in done.ranges.items()}
    export_clicks(settings, tmp_path / "two.parquet", until=until, attributes=attributes)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    rest = export_clicks(settings, tmp_path / "rest.parquet", since=until)
    assert pl.read_parquet(tmp_path / "rest.parquet")["event_id"].sort().to_list() == ["late", "later"]
    assert rest.clicks == 2


def test_an_export_begins_and_ends_at_times_of_the_broker(settings: Settings, tmp_path: Path) -> None:
    bounds = []
    for part in range(3):
        send(settings, settings.topics.clicks, [of(f"e{part}{i}", f"s{i}", "i1", part) for i in range(4)])
        clock_of_kafka_passes()
        bounds.append(time.time_ns() // 10**6)
        clock_of_kafka_passes()
    found = export_clicks(settings, tmp_path / "middle.parquet", since=bounds[0], until=bounds[1])
    assert set(pl.read_parquet(tmp_path / "middle.parquet")["event_id"]) == {f"e1{i}" for i in range(4)}
    assert found.clicks == 4
    before_kafka = parse_bound("1960-01-01", "--since")
    assert export_clicks(settings, tmp_path / "all.parquet", since=before_kafka).clicks == 12
    assert export_clicks(settings, tmp_path / "nothing.parquet", until=before_kafka).clicks == 0
    assert export_clicks(settings, tmp_path / "none.parquet", since=bounds[2]).clicks == 0


def test_the_command_exports_and_says_what_it_left_out(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPICS__CLICKS", settings.topics.clicks)
    monkeypatch.setenv("NEXTCLICK_TOPICS__CATALOGUE", settings.topics.catalogue)
    send_everything(settings)
    out = tmp_path / "clicks.parquet"
    command = ["export", "--out", str(out), "--bootstrap-servers", settings.kafka.bootstrap_servers]
    assert run(build_app(), command) == 0
    printed = capsys.readouterr().out
    assert f"6 clicks of {settings.topics.clicks} in {out}" in printed
    assert "left out as dead letters, not_json: 1" in printed
    assert "left out, without consent: 1; duplicates: 1" in printed
    assert "records of the catalogue that could not be read: 1" in printed
    assert run(build_app(), command) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_missing_topic_is_said_before_anything_is_written(
    broker: str, new_settings: NewSettings, tmp_path: Path
) -> None:
    settings = new_settings(broker)
    with pytest.raises(TopicError, match=f"has no topic {settings.topics.clicks}; `nextclick topics create`"):
        export_clicks(settings, tmp_path / "clicks.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_catalogue_that_is_not_there_can_be_left_out(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"topics": settings.topics.model_copy(update={"catalogue": "nowhere"})})
    send(settings, settings.topics.clicks, [of("e", "s", "i", 0)])
    with pytest.raises(TopicError, match=r"has no topic nowhere; .*; --without-attributes exports without"):
        export_clicks(other, tmp_path / "clicks.parquet")
    assert export_clicks(other, tmp_path / "clicks.parquet", attributes=False).clicks == 1


def test_a_broker_that_is_down_is_a_sentence(new_settings: NewSettings, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"Kafka is not reached .*; start a broker there"):
        export_clicks(new_settings(f"127.0.0.1:{free_port()}"), tmp_path / "clicks.parquet")


# --- what only Apache Kafka does


@pytest.fixture
def on_kafka(apache_kafka: str | None, new_settings: NewSettings) -> Settings:
    if apache_kafka is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    settings = new_settings(apache_kafka, topics={"partitions": 1})
    create_topics(settings)
    send(settings, settings.topics.clicks, [of(f"e{i}", "s", "i", i) for i in range(10)])
    return settings


def retain_from(settings: Settings, offset: int) -> None:
    with admin_client(settings.kafka) as client:
        client.delete_records({TopicPartition(settings.topics.clicks, 0): offset})


def test_offsets_that_are_gone_are_counted_or_passed_over_as_asked(on_kafka: Settings, tmp_path: Path) -> None:
    retain_from(on_kafka, 4)
    with pytest.raises(TopicError, match=r"retention removed 3 of partition 0 \(it begins at 4\)"):
        export_clicks(on_kafka, tmp_path / "clicks.parquet", since={0: 1})
    assert export_clicks(on_kafka, tmp_path / "clicks.parquet").ranges == {0: Range(4, 10)}


def test_offsets_that_go_while_they_are_waited_for_end_the_export(on_kafka: Settings) -> None:
    topic = on_kafka.topics.clicks
    with topic_reader(on_kafka.kafka, topic, from_beginning=True, skip_lost=False) as reader:
        retain_from(on_kafka, 7)
        with pytest.raises(TopicError, match=r"retention removed 7 offsets \(0 to 6\) before they were read"):
            list(_batches(reader.consumer, TopicPartition(topic, 0), Range(0, 10)))


class GuardedKafka(KafkaBroker):
    """Apache Kafka that asks who may do what; without a rule, everybody may."""

    def command(self) -> list[str]:
        line = super().command()
        with (self.folder / "server.properties").open("a") as properties:
            properties.write("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n")
            properties.write("allow.everyone.if.no.acl.found=true\n")
        return line


@pytest.fixture
def guarded(apache_kafka: str | None, new_settings: NewSettings) -> Iterator[Settings]:
    if apache_kafka is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    with GuardedKafka() as broker:
        settings = new_settings(broker.bootstrap_servers, topics={"partitions": 1})
        create_topics(settings)
        yield settings


def test_missing_rights_are_a_sentence(guarded: Settings, tmp_path: Path) -> None:
    topic = ResourcePattern(ResourceType.TOPIC, guarded.topics.clicks)
    for operation in (ACLOperation.READ, ACLOperation.DESCRIBE):
        with admin_client(guarded.kafka) as client:
            client.create_acls([ACL("User:ANONYMOUS", "*", operation, ACLPermissionType.DENY, topic)])
        with pytest.raises(BrokerError, match=r"does not allow this .*; give this client's user the rights to"):
            export_clicks(guarded, tmp_path / "clicks.parquet")
    assert list(tmp_path.iterdir()) == []
