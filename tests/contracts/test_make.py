"""`make` and continuous integration do what the README says, and the same."""

import re
import subprocess
from pathlib import Path

TARGETS = {
    "help",
    "install",
    "demo",
    "test",
    "acceptance",
    "accuracy",
    "chaos",
    "fuzz",
    "lint",
    "docs",
    "lock",
    "clean",
    "bench",
}
TARGETS |= {
    f"bench-{part}"
    for part in (
        "framework",
        "pipeline",
        "encoders",
        "retrieval",
        "training",
        "evaluation",
        "latency",
        "recovery",
        "memory",
    )
}


def test_make_alone_lists_every_target(root: Path) -> None:
    shown = subprocess.run(["make"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([a-z-]+) ", shown, re.MULTILINE)) == TARGETS


def test_continuous_integration_calls_what_proves_the_promises(root: Path) -> None:
    script = root / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    stages = {"make acceptance", "make test", "make chaos ROUNDS=10", "make fuzz EVENTS=100000"}
    assert stages <= set(script.read_text().splitlines())
