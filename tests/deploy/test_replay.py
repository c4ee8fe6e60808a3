"""Replaying a click log into real brokers: in order, at its rate, acknowledged, with the same ids every time."""

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.cli import build_app, run
from deploy.replay import read_clicks, replay_clicks
from serving.errors import NextclickError, WrongUse
from serving.events import Click, decode_click, encode_click
from stream.clients import topic_reader
from stream.contract.topics import create_topics
from stream.errors import BrokerError, TopicError
from stream.settings import Settings

NewSettings = Callable[..., Settings]


@pytest.fixture
def settings(broker: str, new_settings: NewSettings) -> Settings:
    settings = new_settings(broker, topics={"partitions": 3})
    create_topics(settings)
    return settings


def clicks_of(sessions: int, each: int) -> list[Click]:
    """Sessions take turns: s0, s1, ..., s0, s1, ..."""
    return [
        Click(event_id=f"e{i}", session_id=f"s{i % sessions}", item_id=f"i{i}", timestamp_ms=1_000 + i)
        for i in range(sessions * each)
    ]


def sent(settings: Settings) -> list[Any]:
    with topic_reader(settings.kafka, settings.topics.clicks, from_beginning=True) as reader:
        return list(reader.present_records())


def write_jsonl(path: Path, clicks: list[Click]) -> Path:
    path.write_bytes(b"".join(encode_click(click) + b"\n" for click in clicks))
    return path


def test_every_click_arrives_once_whole_and_keyed_by_its_session(settings: Settings) -> None:
    clicks = clicks_of(sessions=7, each=300)
    assert replay_clicks(clicks, settings.kafka, settings.topics.clicks, rate=0) == 7 * 300
    records = sent(settings)
    assert sorted(decode_click(record.value).event_id for record in records) == sorted(c.event_id for c in clicks)
    assert all(record.key == decode_click(record.value).session_id.encode() for record in records)


def test_the_clicks_of_a_session_keep_their_order(settings: Settings) -> None:
    clicks = clicks_of(sessions=5, each=200)
    replay_clicks(clicks, settings.kafka, settings.topics.clicks, rate=0)
    found = [decode_click(record.value) for record in sent(settings)]
    for number in range(5):
        times = [click.timestamp_ms for click in found if click.session_id == f"s{number}"]
        assert times == [1_000 + number + 5 * turn for turn in range(200)]


def test_clicks_are_due_by_a_schedule_that_waits_for_nobody(settings: Settings) -> None:
    handed_over: list[float] = []

    def slow_at_first(click: Click) -> None:
        handed_over.append(time.monotonic())
        while len(handed_over) == 1 and time.monotonic() < handed_over[0] + 0.5:
            pass

    replay_clicks(
        clicks_of(sessions=1, each=101), settings.kafka, settings.topics.clicks, rate=100, on_sent=slow_at_first
    )
    # 101 clicks at 100 a second: the last is due a second after the first, although the first took half of it.
    assert 0.99 < handed_over[-1] - handed_over[0] < 1.3
    # The 49 clicks that became due meanwhile left at once, not 10 ms after one another.
    assert handed_over[50] - handed_over[1] < 0.25


def test_a_replay_can_be_stopped_and_what_was_sent_is_acknowledged(settings: Settings) -> None:
    stop = Event()
    count = replay_clicks(
        clicks_of(sessions=1, each=100),
        settings.kafka,
        settings.topics.clicks,
        rate=50,
        on_sent=lambda click: stop.set() if click.event_id == "e4" else None,
        stop=stop,
    )
    assert count == 5
    assert len(sent(settings)) == 5


def test_a_missing_topic_is_said_and_not_made(broker: str, new_settings: NewSettings) -> None:
    settings = new_settings(broker)
    for _ in range(2):
        with pytest.raises(TopicError, match=f"has no topic {settings.topics.clicks}; `nextclick topics create`"):
            replay_clicks(clicks_of(1, 1), settings.kafka, settings.topics.clicks, rate=0)


def test_a_click_that_kafka_refuses_ends_the_replay_with_what_arrived(settings: Settings) -> None:
    clicks = clicks_of(sessions=1, each=3)
    clicks[1] = Click(
        event_id="huge", session_id="s0", item_id="i", timestamp_ms=1_001, context={"page": "x" * 2_000_000}
    )
    with pytest.raises(BrokerError):
        replay_clicks(clicks, settings.kafka, settings.topics.clicks, rate=0)
    assert [decode_click(record.value).event_id for record in sent(settings)] in ([], ["e0"])


def test_events_are_replayed_as_they_are_in_the_order_of_their_time(tmp_path: Path) -> None:
    late, early, also_early = (
        Click(event_id=name, session_id="s", item_id="i", timestamp_ms=at, event_type="purchase", value=2.5)
        for name, at in [("late", 9), ("early", 3), ("also-early", 3)]
    )
    assert read_clicks(write_jsonl(tmp_path / "log.jsonl", [late, early, also_early])) == [early, also_early, late]


def test_gzipped_events_are_replayed_as_they_are(tmp_path: Path) -> None:
    clicks = clicks_of(sessions=2, each=3)
    plain = write_jsonl(tmp_path / "log.jsonl", clicks).read_bytes()
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(b"\n" + plain))
    assert read_clicks(tmp_path / "log.jsonl.gz") == clicks
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(plain)[:-9])
    with pytest.raises(NextclickError, match=r"cut\.jsonl\.gz is no whole gzipped file .*: fetch or pack it again"):
        read_clicks(tmp_path / "cut.jsonl.gz")


def test_unreadable_rows_of_another_layout_may_be_allowed(tmp_path: Path) -> None:
    log = tmp_path / "clicks.csv"
    log.write_text("session_id,item_id,timestamp_ms\na,1,1700000002000\noops\n")
    with pytest.raises(NextclickError, match="allow more with --max-bad-share"):
        read_clicks(log)
    assert [click.item_id for click in read_clicks(log, max_bad_share=0.5)] == ["1"]


def test_another_layout_gives_the_same_event_ids_every_time(tmp_path: Path) -> None:
    log = tmp_path / "clicks.csv"
    log.write_text("session_id,item_id,timestamp_ms\na,1,1700000002000\nb,2,1700000001000\na,3,1700000003000\n")
    clicks = read_clicks(log)
    assert [(click.session_id, click.item_id) for click in clicks] == [("b", "2"), ("a", "1"), ("a", "3")]
    assert read_clicks(log) == clicks
    assert len({click.event_id for click in clicks}) == 3


def test_a_line_that_is_no_click_is_named(tmp_path: Path) -> None:
    log = write_jsonl(tmp_path / "log.jsonl", clicks_of(1, 2))
    log.write_bytes(log.read_bytes() + b"\n{oops\n")
    with pytest.raises(NextclickError, match=rf"line 4 of {log} is no click: the value is not JSON"):
        read_clicks(log)


def test_a_missing_log_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="there is no file"):
        read_clicks(tmp_path / "nothing.jsonl")


def test_an_error_beside_the_replay_is_not_hidden_by_closing(settings: Settings) -> None:
    def fail(click: Click) -> None:
        if click.event_id == "e9":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replay_clicks(clicks_of(1, 20), settings.kafka, settings.topics.clicks, rate=0, on_sent=fail)
    assert len(sent(settings)) == 9


def test_the_command_sends_the_first_clicks_by_time_and_counts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPICS__CLICKS", settings.topics.clicks)
    log = write_jsonl(tmp_path / "log.jsonl", clicks_of(2, 20)[::-1])
    servers = ["--bootstrap-servers", settings.kafka.bootstrap_servers]
    assert run(build_app(), ["replay", str(log), "--rate", "0", "--limit", "30", "--max-bad-share", "0", *servers]) == 0
    assert f"30 clicks sent to {settings.topics.clicks} and acknowledged in " in capsys.readouterr().out
    found = {decode_click(record.value).event_id for record in sent(settings)}
    assert found == {f"e{number}" for number in range(30)}
