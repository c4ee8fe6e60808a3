from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stream.settings import Settings
from tests.end_to_end.service import Service
from tests.tiny_bundle import write_tiny_bundle
from training.data.generator import generate
from training.data.writers import write_log

# Kafka gives a killed worker's partitions to the next one after this.
SOON = {"session_timeout_s": 3.0, "heartbeat_interval_s": 1.0}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop's clicks: enough structure for a GRU to find in ten seconds."""
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    write_log(generate(sessions=2_500, items=200, seed=4), path)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(directory)
    return directory


@pytest.fixture
def new_service(
    new_settings: Callable[..., Settings], tiny_bundle: Path, tmp_path: Path
) -> Iterator[Callable[..., Service]]:
    """Make a deployment of its own topics: `new_service(broker, partitions=2)`."""
    with ExitStack() as stack:

        def make(bootstrap_servers: str, partitions: int = 4, **worker: Any) -> Service:
            settings = new_settings(bootstrap_servers, topics={"partitions": partitions}, worker=SOON | worker)
            return stack.enter_context(Service(settings, tiny_bundle, tmp_path))

        yield make
