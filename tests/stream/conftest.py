import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serving.bundle import Bundle
from serving.recommender import Recommender
from stream.app import create_app
from stream.metrics import Metrics
from stream.settings import Settings
from stream.state.table import Source
from tests.stream.bench import Bench, Inlet, Wire
from tests.stream.simulation.world import World
from tests.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(Path(tmp_path_factory.mktemp("bundles")) / "tiny")


@pytest.fixture
def new_bench(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Make an application: `new_bench(recommender=..., batch_max_events=4)`; settings are those of the worker.

    States are written in the next turn of the loop, so that tests wait for turns, not for time.
    """
    monkeypatch.setattr("stream.pipeline.pipeline.STORE_EVERY_S", 0.0)
    with ThreadPoolExecutor(1) as executor:

        def make(
            recommender: Recommender | None = None, overload: dict[str, Any] | None = None, **worker: Any
        ) -> Bench:
            groups = {"worker": {"expiry_grace_s": 0, **worker}, "overload": overload or {}}
            settings = Settings.model_validate(groups)
            metrics, wire, inlet = Metrics(), Wire(), Inlet()
            application = create_app(
                settings,
                recommender or Recommender(tiny_bundle, settings.serving),
                source=Source("clicks", 4, "topic-1"),
                executor=executor,
                metrics=metrics,
            )
            application.faust.producer, application.faust.consumer = wire, inlet
            for partition in range(4):
                application.table.shard(partition)  # as a recovery does
            return Bench(application, wire, inlet, metrics)

        yield make


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    return new_bench()


@pytest.fixture(scope="session")
def recommender(tiny_bundle: Bundle) -> Recommender:
    return Recommender(tiny_bundle, Settings().serving)


@pytest.fixture
def new_world(recommender: Recommender) -> Iterator[Callable[..., World]]:
    """Begin a simulation: `new_world(partitions=2, worker={...})`; it ends with the test, or when the next begins."""
    with contextlib.ExitStack() as stack:

        def make(partitions: int = 2, **settings: Any) -> World:
            stack.close()
            return stack.enter_context(World(recommender, partitions, **settings).running())

        yield make
