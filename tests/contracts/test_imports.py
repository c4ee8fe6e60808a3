"""The arrows between the packages, and what `nextclick --help` may load."""

import ast
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("stream", "serving", "training", "deploy")
HEAVY = {"torch", "faiss", "faust", "polars", "numpy", "onnxruntime", "kafka", "aiokafka", "msgspec"}
# What typer itself loads to read the arguments of a command, 0.2 s; `nextclick --help` does without.
LOADED_BY_TYPER = {"pydantic", "rich"}
# A module of the wrong package in the wrong place, one for each contract.
PLANTED = {
    "serving/planted.py": "import stream\nimport torch\n",
    "stream/planted.py": "import training\nimport polars\n",
    "training/planted.py": "import deploy\n",
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_the_import_contracts_are_kept(root: Path) -> None:
    done = lint_imports(root)
    assert done.returncode == 0, done.stdout


def test_the_import_contracts_catch_a_planted_violation_each(root: Path, tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    for name, text in PLANTED.items():
        (tmp_path / name).write_text(text)

    done = lint_imports(tmp_path)

    assert done.returncode != 0
    assert "0 kept, 3 broken" in done.stdout
    arrows = ["serving.planted -> stream", "serving.planted -> torch", "stream.planted -> training",
              "stream.planted -> polars", "training.planted -> deploy"]  # fmt: skip
    for arrow in arrows:
        assert arrow in done.stdout


def test_command_modules_import_only_typer_and_the_standard_library_at_their_tops(root: Path) -> None:
    allowed = sys.stdlib_module_names | {"typer"}
    for source in root.glob("*/commands/*.py"):
        for node in ast.parse(source.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                own = name.split(".")[1:2] == ["commands"]  # which this very test looks at too
                assert own or name.partition(".")[0] in allowed, f"{source}: {name}"


def test_no_help_loads_anything_heavy() -> None:
    script = f"""
import contextlib, io, sys, typer
from deploy.cli import build_app, run
app = build_app()
def paths(command, path=()):
    yield path
    for name, child in getattr(command, "commands", {{}}).items():
        yield from paths(child, (*path, name))
for path in paths(typer.main.get_command(app)):
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(app, [*path, "--help"]) == 0, path
    loaded = ({HEAVY!r} if path else {HEAVY | LOADED_BY_TYPER!r}) & sys.modules.keys()
    assert not loaded, (path, loaded)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("command", ["", "train", "topics create"])
def test_help_answers_in_a_third_of_a_second(command: str) -> None:
    program = Path(sys.executable).with_name("nextclick")

    def seconds() -> float:
        # Of the processor, for other tests may share the machine.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, *command.split(), "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Measured 2026-11: 0.10 s, 0.16 s for a command.
    assert min(seconds() for _ in range(5)) <= 0.3
