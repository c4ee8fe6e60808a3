import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream.errors import Defect
from stream.health import Health
from stream.observer import Observer
from tests.stream.bench import Bench
from tests.stream.transport.reading import reading


def observer(bench: Bench) -> Observer:
    made = Observer(Health(["tables"]), bench.metrics, "http://127.0.0.1:1")
    made.application = bench.application
    return made


def own(bench: Bench, *partitions: int) -> None:
    places = {TP("clicks", partition): 2 for partition in partitions}
    bench.application.faust.consumer = reading(places, ends={TP("clicks", 0): 5, TP("clicks", 1): 9}, committed=places)


async def test_what_breaks_the_observer_ends_the_worker_with_a_sentence(bench: Bench) -> None:
    bench.application.faust.tables.actives_ready = True
    bench.application.faust.consumer = SimpleNamespace()  # a running application has one with an assignment
    observing = asyncio.create_task(observer(bench).run())
    async with asyncio.timeout(10):
        await bench.application.failure.happened.wait()
    assert not observing.done()
    observing.cancel()
    error = bench.application.failure.error
    assert isinstance(error, Defect)
    assert "this is a bug in nextclick (AttributeError: " in str(error)


async def test_the_lag_of_a_partition_is_there_at_every_scrape_until_it_is_revoked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: Any = observer(bench)
    own(bench, 0, 1)
    observed._observe_lag(bench.application)
    monkeypatch.setattr(bench.metrics.lag, "clear", lambda: pytest.fail("a scrape would see no series"))
    own(bench, 0)
    observed._observe_lag(bench.application)
    lag = {partition: _lag(bench, partition) for partition in ("0", "1")}
    assert lag == {"0": 5 - 2, "1": None}


def _lag(bench: Bench, partition: str) -> float | None:
    return bench.metrics.registry.get_sample_value("nextclick_stream_consumer_lag_events", {"partition": partition})


def test_looking_for_a_session_adds_no_partition(bench: Bench) -> None:
    assert bench.application.table.state_of(9, b"s1") is None
    assert 9 not in bench.application.table.shards
