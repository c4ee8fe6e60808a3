"""Fuzzed records without a broker: the worker's own code reads and answers them, and the checker misses nothing."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from serving.bundle import load_bundle
from serving.control import Control
from serving.errors import InvalidEvent
from serving.events import encode_recommendation
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState
from serving.settings import ServingSettings
from stream.contract.codecs import decode_record
from stream.contract.incoming import Incoming
from stream.pipeline.compute import Dead
from stream.pipeline.publish import dead_letter
from tests.end_to_end.chaos.topics import Record
from tests.end_to_end.fuzz.checker import Checker
from tests.end_to_end.fuzz.records import KINDS, records

TOPIC = "clicks"
EVENTS = 4_000
SETTINGS = ServingSettings()


class Topics(NamedTuple):
    clicks: list[Record]
    recommendations: list[Record]
    dead_letters: list[Record]


@pytest.fixture(scope="module")
def recommender(tiny_bundle: Path) -> Recommender:
    return Recommender(load_bundle(tiny_bundle), SETTINGS)


@pytest.fixture(scope="module")
def topics(recommender: Recommender) -> Topics:
    """What a faultless worker makes of the records."""
    sent = zip(records(seed=1, now_ms=lambda: 1_790_000_000_000), range(EVENTS), strict=False)
    clicks = [Record(0, n, 1_790_000_000_000, record.key, record.value, list(record.headers)) for record, n in sent]
    found = Topics(clicks, [], [])
    states: dict[str, SessionState] = {}
    for record in clicks:
        try:
            click = decode_record(record.key, record.value, record.headers)
        except InvalidEvent as error:
            incoming = Incoming(0, record.offset, record.timestamp_ms, record.key, record.value, record.headers)
            letter = dead_letter(Dead(incoming, error.reason, error.message), TOPIC, "dead-letters")
            found.dead_letters.append(_at(found.dead_letters, letter.key, letter.value, list(letter.headers or [])))
            continue
        result = process(states, [Sourced(click, record.offset, record.timestamp_ms)], recommender, Control())
        states |= result.states
        for served in result.lists:
            value = encode_recommendation(served.recommendation)
            found.recommendations.append(_at(found.recommendations, record.key, value, []))
    return found


def _at(topic: list[Record], key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]) -> Record:
    return Record(0, len(topic), 0, key, value, headers)


def settle(topics: Topics, recommender: Recommender, order: str = "clicks first") -> Checker:
    checker = Checker(recommender, TOPIC, SETTINGS.session_gap_s, SETTINGS.session_length)
    waiting = [
        (checker.click, deque(topics.clicks)),
        (checker.recommendation, deque(topics.recommendations)),
        (checker.dead_letter, deque(topics.dead_letters)),
    ]
    if order == "clicks last":
        waiting.reverse()
    at_once = 50 if order == "in turns" else EVENTS
    while any(queue for _, queue in waiting):
        for take, queue in waiting:
            for _ in range(min(at_once, len(queue))):
                take(queue.popleft())
    checker.finish()
    return checker


@pytest.mark.parametrize("order", ["clicks first", "clicks last", "in turns"])
def test_every_record_is_settled_in_whatever_order_the_topics_are_read(
    order: str, topics: Topics, recommender: Recommender
) -> None:
    checker = settle(topics, recommender, order)
    assert not checker.failed, checker.examples
    assert checker.settled.total() == EVENTS
    assert checker.kinds.keys() == {"valid", "mutated", *KINDS}
    assert checker.settled["duplicate"] > 50


def _spoiled(records: list[Record], at: int, value: bytes) -> list[Record]:
    return [*records[:at], records[at]._replace(value=value), *records[at + 1 :]]


BREAKS: dict[str, tuple[Callable[[Topics], Topics], str]] = {
    "a list is missing": (
        lambda topics: topics._replace(recommendations=topics.recommendations[1:]),
        "clicks without a list",
    ),
    "a list is another one": (
        lambda topics: topics._replace(
            recommendations=_spoiled(
                topics.recommendations, 5, (topics.recommendations[5].value or b"").replace(b'"score":', b'"score":1')
            )
        ),
        "wrong lists",
    ),
    "a list is none": (
        lambda topics: topics._replace(recommendations=_spoiled(topics.recommendations, 5, b"{}")),
        "wrong lists",
    ),
    "a dead letter is missing": (
        lambda topics: topics._replace(dead_letters=topics.dead_letters[1:]),
        "records without a dead letter",
    ),
    "a dead letter has other bytes": (
        lambda topics: topics._replace(dead_letters=_spoiled(topics.dead_letters, 0, b"other")),
        "wrong dead letters",
    ),
    "a dead letter says another reason": (
        lambda topics: topics._replace(
            dead_letters=[
                letter._replace(
                    headers=[
                        (name, b"wrong_key" if name == "nextclick-reason" and text == b"empty" else text)
                        for name, text in letter.headers
                    ]
                )
                for letter in topics.dead_letters
            ]
        ),
        "wrong reasons",
    ),
    "a click has a list and a dead letter": (
        lambda topics: topics._replace(
            dead_letters=[
                *topics.dead_letters,
                *(
                    letter._replace(
                        headers=[(name, b"0" if name == "nextclick-offset" else text) for name, text in letter.headers]
                    )
                    for letter in topics.dead_letters[:1]
                ),
            ]
        ),
        "dead letters of valid clicks",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_wrong_is_seen(name: str, topics: Topics, recommender: Recommender) -> None:
    broken, promise = BREAKS[name]
    assert settle(broken(topics), recommender).failed[promise]
