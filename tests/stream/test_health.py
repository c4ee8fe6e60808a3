import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from serving.errors import NextclickError
from stream.health import LIVE_LIMIT_S, Health, HealthServer


@pytest.fixture
def health() -> Health:
    return Health(["bundle", "tables"])


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    registry = CollectorRegistry()
    Counter("seen_total", "Things.", registry=registry).inc(3)
    server = HealthServer("127.0.0.1", 0, health, registry)
    yield server
    server.close()


def get(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def get_json(url: str) -> tuple[int, Any]:
    status, body = get(url)
    return status, json.loads(body)


def test_ready_says_what_is_missing_until_nothing_is(server: HealthServer, health: Health) -> None:
    health.set("bundle", True)
    assert get_json(f"{server.url}/ready") == (
        503,
        {"ready": False, "missing": ["tables"], "parts": {"bundle": True, "tables": False}},
    )
    health.set("tables", True)
    assert get_json(f"{server.url}/ready") == (
        200,
        {"ready": True, "missing": [], "parts": {"bundle": True, "tables": True}},
    )
    health.set("tables", False)
    assert get(f"{server.url}/ready")[0] == 503


def test_live_ends_when_the_loop_no_longer_turns(
    server: HealthServer, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.beat()
    assert get_json(f"{server.url}/live")[0] == 200
    last = health._beat
    monkeypatch.setattr("stream.health.time.monotonic", lambda: last + LIVE_LIMIT_S)
    status, body = get_json(f"{server.url}/live")
    assert (status, body["live"]) == (503, False)


def test_metrics_are_those_of_the_registry(server: HealthServer) -> None:
    status, body = get(f"{server.url}/metrics")
    assert status == 200
    assert "seen_total 3.0" in body


def test_anything_else_is_not_here(server: HealthServer) -> None:
    assert get(f"{server.url}/")[0] == 404
    assert get(f"{server.url}/ready", "HEAD") == (503, "")


def test_a_port_that_is_taken_is_named_with_the_remedy(server: HealthServer, health: Health) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(NextclickError, match=rf"127\.0\.0\.1:{port} .* monitoring\.port"):
        HealthServer("127.0.0.1", port, health, CollectorRegistry())


def test_closing_leaves_no_thread(health: Health) -> None:
    before = threading.active_count()
    server = HealthServer("127.0.0.1", 0, health, CollectorRegistry())
    get(f"{server.url}/live")
    server.close()
    assert threading.active_count() == before
