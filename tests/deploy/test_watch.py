"""Watching the recommendations topic of real brokers."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Timer

import pytest

from deploy.cli import build_app, run
from deploy.watch import Watched, as_line, watch_lists
from serving.events import Reason, Recommendation, RecommendedItem, encode_recommendation
from stream.clients import producer_client
from stream.contract.topics import create_topics
from stream.errors import TopicError
from stream.settings import Settings

NewSettings = Callable[..., Settings]


@pytest.fixture
def settings(broker: str, new_settings: NewSettings) -> Settings:
    settings = new_settings(broker, topics={"partitions": 2})
    create_topics(settings)
    return settings


def a_list(session: str, event: str, source: str = "encoder") -> Recommendation:
    items = [RecommendedItem(item, 0.5, Reason("session", ["x"])) for item in ("i1", "i2", "i3")]
    return Recommendation(f"r-{event}", session, event, "b1", "0", 1_000, source, items)


def publish(settings: Settings, *lists: Recommendation | bytes) -> None:
    with producer_client(settings.kafka) as producer:
        for found in lists:
            value = found if isinstance(found, bytes) else encode_recommendation(found)
            producer.send(settings.topics.recommendations, value, key=b"s", timestamp_ms=1_700_000_000_123).get(
                timeout=30
            )


@contextmanager
def watch_command(settings: Settings, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `nextclick watch`; it is killed after a minute, so that one that sees nothing is a failure, not a hang."""
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "watch", *options]
    variables = {
        "NEXTCLICK_TOPICS__RECOMMENDATIONS": settings.topics.recommendations,
        "NEXTCLICK_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    ) as watching:
        deadline = Timer(60, watching.kill)
        deadline.start()
        try:
            yield watching
        finally:
            deadline.cancel()
            watching.kill()


def test_lists_come_from_the_beginning_in_order_and_other_bytes_are_passed_over(settings: Settings) -> None:
    lists = [a_list("s1", "e1"), a_list("s2", "e2"), a_list("s1", "e3")]
    publish(settings, lists[0], b"not a list", *lists[1:])
    topic = settings.topics.recommendations
    found = list(watch_lists(settings.kafka, topic, from_beginning=True, limit=3))
    assert [watched.recommendation for watched in found] == lists
    assert [watched.value for watched in found] == [encode_recommendation(one) for one in lists]
    only = list(watch_lists(settings.kafka, topic, session="s1", from_beginning=True, limit=2))
    assert [watched.recommendation.trigger_event_id for watched in only] == ["e1", "e3"]


def test_without_from_beginning_only_new_lists_come(settings: Settings) -> None:
    publish(settings, *[a_list("s1", f"old-{number}") for number in range(5)])
    with watch_command(settings, "--limit", "1") as watching:
        # It can't tell when it has found the topic's end, so lists are published until it has seen one.
        number = 0
        while watching.poll() is None:
            publish(settings, a_list(f"new-{number}", f"new-{number}"))
            number += 1
        out, err = watching.communicate()
    assert (watching.returncode, err) == (0, "")
    assert "  new-" in out


def test_a_line_has_time_session_and_titles_and_says_when_it_is_a_fallback() -> None:
    at = datetime(2026, 2, 3, 4, 5, 6, 789_000).timestamp()
    titles = {"i1": "Alien", "i2": "Brazil", "i3": "Clue"}
    watched = Watched(round(at * 1000), b"", a_list("s1", "e1"))
    assert as_line(watched, titles.__getitem__, top=2) == "04:05:06.789  s1  Alien · Brazil"
    for source in ("encoder", "counters", "blend"):
        made = watched._replace(recommendation=a_list("s1", "e1", source))
        assert as_line(made, titles.__getitem__, top=2) == "04:05:06.789  s1  Alien · Brazil"
    for source in ("popularity", "shed"):
        fallback = watched._replace(recommendation=a_list("s1", "e1", source))
        assert as_line(fallback, titles.__getitem__, top=3) == f"04:05:06.789  s1  ({source}) Alien · Brazil · Clue"


def test_a_missing_topic_is_said(broker: str, new_settings: NewSettings) -> None:
    settings = new_settings(broker)
    with pytest.raises(TopicError, match="has no topic"):
        next(watch_lists(settings.kafka, settings.topics.recommendations))


def test_the_command_prints_lines_and_writes_the_values(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPICS__RECOMMENDATIONS", settings.topics.recommendations)
    publish(settings, a_list("s1", "e1"), a_list("s2", "e2"))
    servers = ["--bootstrap-servers", settings.kafka.bootstrap_servers]
    file = tmp_path / "lists.jsonl"
    options = ["--from-beginning", "--limit", "2", "--top", "1", "--json", str(file)]
    assert run(build_app(), ["watch", *options, *servers]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("  s1  i1")
    assert second.endswith("  s2  i1")
    assert [json.loads(line)["trigger_event_id"] for line in file.read_text().splitlines()] == ["e1", "e2"]


def test_ctrl_c_is_how_watching_ends(settings: Settings) -> None:
    publish(settings, a_list("s1", "e1"))
    with watch_command(settings, "--from-beginning") as watching:
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline().endswith("  s1  i1 · i2 · i3\n")
            watching.send_signal(signal.SIGINT)
            out, err = watching.communicate(timeout=30)
        finally:
            watching.kill()
    assert (watching.returncode, out, err) == (0, "", "")
