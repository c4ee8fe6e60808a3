"""`make` and continuous integration do what the README says, and the same."""

import re
import subprocess
from pathlib import Path

TARGETS = {"help", "demo", "test", "lint", "docs", "lock", "clean"}


def test_make_alone_lists_every_target(root: Path) -> None:
    shown = subprocess.run(["make"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([a-z]+) ", shown, re.MULTILINE)) == TARGETS


def test_nothing_is_run_from_the_path_but_python_and_the_shell(root: Path) -> None:
    # .venv/bin is on nobody's PATH.
    recipes = re.findall(r"^\t@?(\S+)", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(recipes) <= {"$(BIN)/nextclick", "$(BIN)/pytest", "$(BIN)/ruff", "$(BIN)/mypy", "$(BIN)/lint-imports",
                            "$(BIN)/python", "$(UV)", "$(COMPILE)", "$(PYTHON)", "{", "$(if", "--custom-compile-command",
                            "echo", "sed", "rm", "find", "test", "touch"}  # fmt: skip


def test_continuous_integration_calls_make_test(root: Path) -> None:
    script = root / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]
