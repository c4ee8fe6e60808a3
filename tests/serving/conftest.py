from pathlib import Path
from typing import Any

import pytest

from serving.bundle import Bundle
from tests.tiny_bundle import write_tiny_bundle

TYPES = {"event_types": ["view", "buy"], "silences": True}
WINDOW = {"form": "window"}
BUNDLES: dict[str, dict[str, Any]] = {
    "step": {},
    "step, types and silences": TYPES,
    "window": WINDOW,
    "window, types and silences": WINDOW | TYPES,
    "window, ages": WINDOW | {"time_of": "last"},
    "window, types, silences and ages": WINDOW | TYPES | {"time_of": "last"},
}
"""What a worker can run: both forms, with what they may read of an event."""


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session", params=BUNDLES)
def any_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", **BUNDLES[request.param])


@pytest.fixture(scope="session", params=[name for name in BUNDLES if name.startswith("window")])
def window_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", **BUNDLES[request.param])


@pytest.fixture(scope="session")
def query_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that asks for the time of a query, which no worker can run."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", form="window", time_of="query")


@pytest.fixture
def own_bundle(tmp_path: Path) -> Bundle:
    """A bundle that the test may damage."""
    return write_tiny_bundle(tmp_path / "own")
