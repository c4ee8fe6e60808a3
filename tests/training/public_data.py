"""Where the public data sets lie, which no test may bring along."""

import os
from pathlib import Path

import pytest

VARIABLE = "NEXTCLICK_TEST_DATA"


def public_data(name: str) -> Path:
    """Return a data set's path, or skip the test with a sentence."""
    home = Path(os.environ.get(VARIABLE, Path(__file__).parents[3] / "shared" / "data"))
    if not (home / name).exists():
        pytest.skip(f"{home / name} is not there: name the folder of the public data sets in {VARIABLE}")
    return home / name
