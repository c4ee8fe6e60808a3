"""What workers say of themselves while partitions move between them."""

import re
import signal
from collections.abc import Callable

import pytest

from serving.events import Click
from tests.end_to_end.service import Service, Worker
from tests.waiting import wait_for

pytestmark = pytest.mark.end_to_end

NewService = Callable[..., Service]
SESSIONS = 40
CLICKS = [Click(f"e{n}", f"s{n % SESSIONS}", "i1", 1_700_000_000_000 + n) for n in range(3 * SESSIONS)]


def partitions(worker: Worker) -> set[str]:
    """Those of which the worker exports a lag."""
    return set(re.findall(r'^nextclick_stream_consumer_lag_events{partition="(\d+)"}', worker.get("/metrics")[1], re.M))


def is_ready(worker: Worker) -> bool:
    return worker.get("/ready")[0] == 200


def test_sessions_and_lag_are_where_their_partition_is(kafka_broker: str, new_service: NewService) -> None:
    service = new_service(kafka_broker)
    service.create_topics()
    first = service.start_worker().wait_until_ready()
    service.send_clicks(CLICKS)
    service.read_lists(CLICKS)
    wait_for(lambda: first.metric("session_table_entries") == SESSIONS)
    assert partitions(first) == {"0", "1", "2", "3"}

    second = service.start_worker().wait_until_ready()
    wait_for(lambda: is_ready(first) and len(partitions(first)) == len(partitions(second)) == 2)
    assert partitions(first) | partitions(second) == {"0", "1", "2", "3"}
    moved = second.metric("session_table_entries")
    assert 0 < moved < SESSIONS
    assert first.metric("session_table_entries") == SESSIONS - moved
    assert second.metric("recovered_records_total") >= moved
    assert second.metric("recovery_seconds") > 0

    first.process.kill()
    wait_for(lambda: second.metric("session_table_entries") == SESSIONS)
    wait_for(lambda: is_ready(second) and partitions(second) == {"0", "1", "2", "3"})


def test_a_worker_without_a_partition_is_ready_to_take_one_over(kafka_broker: str, new_service: NewService) -> None:
    service = new_service(kafka_broker, partitions=1)
    service.create_topics()
    workers = [service.start_worker().wait_until_ready() for _ in range(2)]
    service.send_clicks(CLICKS)
    service.read_lists(CLICKS)
    wait_for(lambda: all(map(is_ready, workers)))
    wait_for(lambda: sorted(worker.metric("session_table_entries") for worker in workers) == [0, SESSIONS])
    idle, busy = sorted(workers, key=lambda worker: worker.metric("session_table_entries"))
    busy.process.kill()
    wait_for(lambda: idle.metric("session_table_entries") == SESSIONS)
    wait_for(lambda: is_ready(idle) and partitions(idle) == {"0"})


def test_a_worker_that_returns_under_its_name_disturbs_nobody(kafka_broker: str, new_service: NewService) -> None:
    service = new_service(kafka_broker)
    service.create_topics()
    named = [{"WORKER__GROUP_INSTANCE_ID": f"pod-{n}", "WORKER__SESSION_TIMEOUT_S": "30"} for n in range(2)]
    stays, returns = [service.start_worker(**name) for name in named]
    wait_for(lambda: stays.url and returns.url and len(partitions(stays)) == len(partitions(returns)) == 2)
    service.send_clicks(CLICKS)
    service.read_lists(CLICKS)
    taken, rebalances = partitions(returns), stays.output.count("rebalancing")

    returns.process.send(signal.SIGTERM)
    assert returns.process.wait(timeout_s=10) == 0
    more = [Click(f"late-{click.event_id}", click.session_id, "i2", click.timestamp_ms + 1_000) for click in CLICKS]
    service.send_clicks(more)
    back = service.start_worker(**named[1]).wait_until_ready()
    service.read_lists(more)
    assert partitions(back) == taken
    assert stays.output.count("rebalancing") == rebalances
    assert back.metric("session_table_entries") + stays.metric("session_table_entries") == SESSIONS
