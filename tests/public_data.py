"""Where the public data sets lie, which no test may bring along."""

import os
from pathlib import Path

import pytest

from tests.not_run import leave_out

VARIABLE = "NEXTCLICK_TEST_DATA"


def data_home() -> Path:
    """Return the folder of the public data sets, which need not exist."""
    return Path(os.environ.get(VARIABLE, Path(__file__).parents[2] / "shared" / "data"))


def public_data(name: str) -> Path:
    """Return a data set's path, or skip the test; the run's summary then says that it was left out."""
    home = data_home()
    if not (home / name).exists():
        leave_out(f"Not run on the public data sets that are not in {home}: name their folder in {VARIABLE}")
        pytest.skip(f"{home / name} is not there")
    return home / name
