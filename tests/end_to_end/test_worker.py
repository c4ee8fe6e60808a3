"""The promises of `nextclick worker`, kept by real processes on real brokers."""

import json
import random
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deploy.local.errors import MissingProgram
from deploy.local.kafka import KafkaBroker
from serving.bundle import load_bundle
from serving.control import Control
from serving.events import Click, Recommendation, encode_recommendation
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.settings import ServingSettings
from stream.contract import reasons
from stream.contract.dead_letter import Cause, read_cause, received_headers
from tests.end_to_end.service import Record, Service, plain
from tests.waiting import wait_for

pytestmark = pytest.mark.end_to_end

NewService = Callable[..., Service]


def clicks_of(count: int, sessions: int = 20, seed: int = 0) -> list[Click]:
    """Clicks of interleaved sessions, on items of the tiny bundle and some that it does not know."""
    rng = random.Random(seed)
    return [
        Click(f"e{n}", f"s{rng.randrange(sessions)}", f"i{rng.randint(1, 55)}", 1_700_000_000_000 + n * 1_000)
        for n in range(count)
    ]


def batched(clicks: list[Click], size: int) -> list[list[Click]]:
    return [clicks[start : start + size] for start in range(0, len(clicks), size)]


def by_id(lists: Iterable[Recommendation]) -> dict[str, bytes]:
    """Bytes of each list by its id; copies of one list must be equal."""
    values: defaultdict[str, set[bytes]] = defaultdict(set)
    for each in lists:
        values[each.recommendation_id].add(encode_recommendation(each))
    assert all(len(copies) == 1 for copies in values.values())
    return {identity: copies.pop() for identity, copies in values.items()}


def expected(clicks: list[Click], bundle: Path) -> dict[str, bytes]:
    """What the clicks give in one piece, without Kafka, Faust, batches or a worker that ends."""
    recommender = Recommender(load_bundle(bundle), ServingSettings())
    log = [Sourced(click, offset, 0) for offset, click in enumerate(clicks)]
    return by_id(served.recommendation for served in process({}, log, recommender, Control()).lists)


POISON = {
    "empty": (Record(b"s1", None, []), reasons.EMPTY),
    "text": (Record(b"s1", b"hello", []), reasons.NOT_JSON),
    "binary": (Record(b"s1", bytes(range(256)), [("trace", b"\xff")]), reasons.NOT_JSON),
    "truncated": (Record(b"s1", b'{"event_id": "e', []), reasons.NOT_JSON),
    "nested": (Record(b"s1", b'{"context":' + b'{"a":' * 50_000, []), reasons.NOT_JSON),
    "no fields": (Record(b"s1", b"{}", []), reasons.INVALID),
    "wrong type": (Record(b"s1", b'{"event_id":"p","session_id":"s1","item_id":7}', []), reasons.INVALID),
    "no key": (plain(Click("p1", "s1", "i1", 1))._replace(key=None), reasons.MISSING_KEY),
    "wrong key": (plain(Click("p2", "s1", "i1", 1))._replace(key=b"s2"), reasons.WRONG_KEY),
    "avro": (Record(b"s1", b"\x00", [("content-type", b"application/avro")]), reasons.UNSUPPORTED_CONTENT_TYPE),
    "old cloudevent": (Record(b"s1", b"{}", [("ce_specversion", b"0.3")]), reasons.INVALID_CLOUDEVENT),
    "huge": (Record(b"s1", b"x" * 900_000, []), reasons.NOT_JSON),
}


def as_cloudevent(click: Click, structured: bool) -> Record:
    data = {"session_id": click.session_id, "item_id": click.item_id, "timestamp_ms": click.timestamp_ms}
    key = click.session_id.encode()
    if structured:
        event = {"specversion": "1.0", "id": click.event_id, "source": "/test", "type": "click", "data": data}
        content_type = b"application/cloudevents+json; charset=utf-8"
        return Record(key, json.dumps(event).encode(), [("content-type", content_type)])
    headers = {"ce_specversion": "1.0", "ce_id": click.event_id, "ce_source": "/test", "ce_type": "click"}
    return Record(key, json.dumps(data).encode(), [(name, text.encode()) for name, text in headers.items()])


def test_every_click_gets_its_list_and_what_is_none_a_dead_letter(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    service.create_topics()
    worker = service.start_worker().wait_until_ready()
    clicks = clicks_of(300)
    records = [
        plain(click) if n % 3 == 0 else as_cloudevent(click, structured=n % 3 == 1) for n, click in enumerate(clicks)
    ]
    poison = [record for record, _ in POISON.values()]
    mixed = [record for pair in zip(records, poison, strict=False) for record in pair] + records[len(poison) :]
    reports = [service.send(record).get for record in mixed]
    service.producer.flush()
    offsets = {(get().partition, get().offset): record for get, record in zip(reports, mixed, strict=True)}

    lists = service.read_lists(clicks)
    letters = service.read(service.settings.topics.dead_letters, lambda records: len(records) >= len(poison))

    assert by_id(lists) == expected(clicks, service.bundle)
    assert len(lists) == len(clicks)
    assert len(letters) == len(poison)
    found: dict[str, str] = {}
    for letter in letters:
        cause = read_cause(letter.headers)
        assert isinstance(cause, Cause)
        assert cause.topic == service.settings.topics.clicks
        original = offsets[cause.partition, cause.offset]
        assert (letter.key, letter.value, received_headers(letter.headers)) == original
        found[next(name for name, (record, _) in POISON.items() if record == original)] = cause.reason
    assert found == {name: reason for name, (_, reason) in POISON.items()}
    assert worker.metric("events_total", outcome="served") == len(clicks)
    assert worker.metric("dead_letters_total", reason=reasons.WRONG_KEY) == 1
    assert worker.get("/ready")[0] == 200
    assert worker.get("/live")[0] == 200


def test_sigterm_ends_cleanly_and_the_next_worker_goes_on_from_there(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    service.create_topics()
    clicks = clicks_of(2_000)
    first = service.start_worker().wait_until_ready()
    service.send_clicks(clicks[:1_000])
    wait_for(lambda: first.metric("events_total", outcome="served") >= 200)
    first.process.send(signal.SIGTERM)
    assert first.process.wait(timeout_s=10) == 0

    service.start_worker().wait_until_ready()
    service.send_clicks(clicks[1_000:])
    lists = service.read_lists(clicks)
    assert by_id(lists) == expected(clicks, service.bundle)
    assert len(lists) == len(clicks)  # what was in hand was finished and committed: nothing is made again


def test_sigkill_loses_nothing_and_makes_nothing_under_another_id(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    service.create_topics()
    clicks = clicks_of(3_000)
    sent = iter(batched(clicks, 500))
    for _ in range(2):
        worker = service.start_worker().wait_until_ready()
        before = worker.metric("events_total", outcome="served")
        reports = [service.send(plain(click)) for click in (*next(sent), *next(sent))]
        wait_for(lambda w=worker, b=before: w.metric("events_total", outcome="served") > b, every_s=0.005)  # type: ignore[misc]
        worker.process.kill()
        for report in reports:
            report.get(timeout=30)
    service.start_worker().wait_until_ready()
    service.send_clicks([click for batch in sent for click in batch])

    assert by_id(service.read_lists(clicks)) == expected(clicks, service.bundle)


def test_the_same_clicks_give_the_same_bytes_at_another_rate_and_with_two_workers(
    broker: str, new_service: NewService
) -> None:
    clicks = clicks_of(1_500, sessions=60)
    values: list[dict[str, bytes]] = []
    for workers, chunk in ((1, len(clicks)), (2, 7)):
        service = new_service(broker)
        service.create_topics()
        started = [service.start_worker() for _ in range(workers)]
        for worker in started:
            worker.wait_until_ready()
        for batch in batched(clicks, chunk):
            service.send_clicks(batch)
        lists = service.read_lists(clicks)
        assert by_id(lists) == expected(clicks, service.bundle)
        assert all(worker.metric("events_total", outcome="served") for worker in started)
        values.append(by_id(lists))
        for worker in started:
            worker.process.send(signal.SIGTERM)
            assert worker.process.wait(timeout_s=10) == 0
    assert values[0] == values[1]


def test_a_worker_that_joins_and_one_that_dies_lose_nothing(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    service.create_topics()
    clicks = clicks_of(2_000, sessions=80)
    first = service.start_worker().wait_until_ready()
    service.send_clicks(clicks[:500])
    second = service.start_worker().wait_until_ready()
    service.send_clicks(clicks[500:1_000])
    wait_for(lambda: second.metric("events_total", outcome="served"))
    first.process.kill()
    service.send_clicks(clicks[1_000:])
    assert by_id(service.read_lists(clicks)) == expected(clicks, service.bundle)
    assert second.get("/ready")[0] == 200


@pytest.mark.slow
def test_a_broker_that_dies_and_comes_back_is_waited_for(new_service: NewService) -> None:
    try:
        kafka = KafkaBroker().__enter__()
    except MissingProgram as error:
        pytest.skip(str(error))
    with kafka:
        service = new_service(kafka.bootstrap_servers)
        service.create_topics()
        clicks = clicks_of(1_500)
        worker = service.start_worker().wait_until_ready()
        reports = [service.send(plain(click)) for click in clicks[:1_000]]
        wait_for(lambda: worker.metric("events_total", outcome="served") >= 100)
        for report in reports:
            report.get(timeout=30)
        service.disconnect()
        kafka.kill()
        wait_for(lambda: "Connection refused" in worker.output)
        kafka.start()
        service.send_clicks(clicks[1_000:])
        assert by_id(service.read_lists(clicks)) == expected(clicks, service.bundle)
        assert worker.process.returncode is None
        service.disconnect()


def test_two_workers_that_start_at_once_while_clicks_come_skip_nothing(broker: str, new_service: NewService) -> None:
    service = new_service(broker)
    service.create_topics()
    clicks = clicks_of(3_000, sessions=200)
    unsent = iter(batched(clicks, 20))
    workers = [service.start_worker(), service.start_worker()]
    while not all(worker.url for worker in workers):
        service.send_clicks(next(unsent, []))
    service.send_clicks([click for batch in unsent for click in batch])
    assert by_id(service.read_lists(clicks)) == expected(clicks, service.bundle)
