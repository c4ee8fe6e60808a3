"""Dead letters on real brokers: found by reason or place, and put back whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import build_app, run
from serving.errors import WrongUse
from stream.clients import producer_client, topic_reader
from stream.contract.dead_letter import TRUNCATED_FROM, Cause, dead_letter_headers
from stream.contract.reasons import INVALID, NOT_JSON, PROCESSING_FAILED
from stream.contract.topics import create_topics
from stream.dead_letters import Wanted, read_letters, requeue, wanted_letters
from stream.settings import Settings

NewSettings = Callable[..., Settings]
RECEIVED = [("ce_id", b"1"), ("trace", b"\x00\xff")]


@pytest.fixture
def settings(broker: str, new_settings: NewSettings) -> Settings:
    settings = new_settings(broker, topics={"partitions": 2})
    create_topics(settings)
    return settings


def bury(
    settings: Settings,
    value: bytes | None,
    reason: str = NOT_JSON,
    *,
    key: bytes | None = b"s1",
    topic: str | None = None,
    extra: list[tuple[str, bytes]] | None = None,
) -> None:
    """Write a dead letter that came from partition 1 of the clicks topic."""
    cause = Cause(reason, f"it is {reason}", topic or settings.topics.clicks, 1, 7)
    headers = dead_letter_headers(RECEIVED, cause) + (extra or [])
    with producer_client(settings.kafka) as producer:
        producer.send(settings.topics.dead_letters, value, key=key, headers=headers, partition=0).get(timeout=30)


def clicks(settings: Settings) -> list[Any]:
    with topic_reader(settings.kafka, settings.topics.clicks, from_beginning=True) as reader:
        return list(reader.present_records())


def test_a_letter_goes_back_with_the_bytes_key_headers_and_partition_it_had(settings: Settings) -> None:
    value = b"\x00\xff{not json"
    bury(settings, value)
    assert requeue(settings, Wanted()) == (1, {})
    (record,) = clicks(settings)
    assert (record.key, record.value, record.partition) == (b"s1", value, 1)
    assert list(record.headers) == RECEIVED


def test_null_values_and_null_keys_go_back_as_null(settings: Settings) -> None:
    bury(settings, None, INVALID)
    bury(settings, b"{}", INVALID, key=None)
    assert requeue(settings, Wanted()).sent == 2
    assert [(record.key, record.value) for record in clicks(settings)] == [(b"s1", None), (None, b"{}")]


def test_only_the_wanted_letters_go_back_and_all_stay_where_they_are(settings: Settings) -> None:
    for value, reason in [(b"a", NOT_JSON), (b"b", PROCESSING_FAILED), (b"c", NOT_JSON)]:
        bury(settings, value, reason)
    assert requeue(settings, Wanted(NOT_JSON), dry_run=True).sent == 2
    assert clicks(settings) == []
    assert requeue(settings, Wanted(PROCESSING_FAILED)).sent == 1
    assert requeue(settings, wanted_letters(None, "0:2")).sent == 1
    assert requeue(settings, wanted_letters(PROCESSING_FAILED, "0:2")).sent == 0
    assert [record.value for record in clicks(settings)] == [b"b", b"c"]
    assert [letter.value for letter in read_letters(settings, Wanted())] == [b"a", b"b", b"c"]


def test_more_letters_than_are_sent_at_once_all_go_back_in_order(settings: Settings) -> None:
    cause = Cause(NOT_JSON, "", settings.topics.clicks, 1, 0)
    with producer_client(settings.kafka) as producer:
        for number in range(1_203):
            headers = dead_letter_headers([], cause)
            producer.send(settings.topics.dead_letters, b"%d" % number, key=b"s", headers=headers, partition=1)
        producer.flush()
    assert requeue(settings, Wanted()) == (1_203, {})
    assert [record.value for record in clicks(settings)] == [b"%d" % number for number in range(1_203)]


def test_what_cannot_or_must_not_go_back_is_counted_with_its_reason(settings: Settings) -> None:
    bury(settings, b"half of i", extra=[(TRUNCATED_FROM, b"2000000")])
    bury(settings, b"x", topic="payments")
    bury(settings, b"", key=None)
    with producer_client(settings.kafka) as producer:
        producer.send(settings.topics.dead_letters, b"from somebody else", partition=0).get(timeout=30)
    sent, not_sent = requeue(settings, Wanted())
    assert sent == 1
    assert not_sent == {
        "it was too large to be kept whole": 1,
        f"it came from payments, and topics.clicks is {settings.topics.clicks}": 1,
        "its headers do not say where it came from": 1,
    }


@pytest.mark.parametrize("place", ["7", "a:1", "1:", ":", "1:-2"])
def test_a_place_is_partition_and_offset(place: str) -> None:
    with pytest.raises(WrongUse, match="is not PARTITION:OFFSET"):
        wanted_letters(None, place)


def test_an_unknown_reason_is_answered_with_the_known_ones() -> None:
    with pytest.raises(WrongUse, match=r"'typo'; the reasons are empty, not_json, invalid"):
        wanted_letters("typo", None)


def test_the_commands_show_and_put_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTCLICK_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    monkeypatch.setenv("NEXTCLICK_TOPICS__DEAD_LETTERS", settings.topics.dead_letters)
    monkeypatch.setenv("NEXTCLICK_TOPICS__CLICKS", settings.topics.clicks)
    for value in (b"first", b"\xff", b"last"):
        bury(settings, value)

    assert run(build_app(), ["dead-letters", "show", "--limit", "1"]) == 0
    shown = capsys.readouterr().out
    assert f"0:2  not_json  from {settings.topics.clicks} 1:7  key b's1'  4 bytes b'last'\n    it is not_json" in shown
    assert "first" not in shown
    assert shown.endswith(f"3 in {settings.topics.dead_letters}: 3 not_json\n")

    report = tmp_path / "letters.json"
    assert run(build_app(), ["dead-letters", "show", "--json", str(report), "--reason", "not_json"]) == 0
    first, second, _ = json.loads(report.read_text())
    assert (first["value"], first["cause"]["reason"], first["cause"]["offset"]) == ("first", "not_json", 7)
    assert second["value_base64"] == "/w=="

    capsys.readouterr()
    assert run(build_app(), ["dead-letters", "requeue"]) == 2
    assert "--reason REASON, --offset P:O or both, or else --all" in capsys.readouterr().err
    assert run(build_app(), ["dead-letters", "requeue", "--all", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"3 would be sent to {settings.topics.clicks}\n"
    assert run(build_app(), ["dead-letters", "requeue", "--offset", "0:0"]) == 0
    assert capsys.readouterr().out == f"1 sent and acknowledged to {settings.topics.clicks}\n"
    assert [record.value for record in clicks(settings)] == [b"first"]
