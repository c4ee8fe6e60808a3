"""Every metric that the pages name is one that a worker exports."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from stream.metrics import Metrics
from tests.docs.blocks import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def exported() -> set[str]:
    """The names as queries use them: those of the families, and of a histogram's series."""
    described = re.findall(r"^# TYPE (\S+) (\S+)", generate_latest(Metrics().registry).decode(), re.MULTILINE)
    return {name for name, _ in described} | {
        f"{name}_{part}" for name, kind in described if kind == "histogram" for part in ("bucket", "count", "sum")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_metric_on_a_page_exists(page: Path) -> None:
    # A name that ends in an underscore is the beginning of several: `nextclick_stream_*`.
    named = re.findall(r"\bnextclick_(?:stream|serving)_\w*", page.read_text())
    known = exported()
    wrong = {name for name in named if name not in known and not (name.endswith("_") and _begins(name, known))}
    assert not wrong, f"{page} names metrics that no worker exports"


def _begins(beginning: str, names: set[str]) -> bool:
    return any(name.startswith(beginning) for name in names)
