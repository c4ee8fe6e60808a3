from pathlib import Path

import pytest

from training.data.generator import generate
from training.data.writers import write_log


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop's clicks: enough structure for a GRU to find in ten seconds."""
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    write_log(generate(sessions=2_500, items=200, seed=4), path)
    return path
