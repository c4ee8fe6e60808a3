from pathlib import Path

import pytest

from serving.bundle import Bundle
from tests.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def own_bundle(tmp_path: Path) -> Bundle:
    """A bundle that the test may damage."""
    return write_tiny_bundle(tmp_path / "own")
