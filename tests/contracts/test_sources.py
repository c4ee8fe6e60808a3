"""What the sources must not do: run code that came in as data, or wait for time to pass in a test."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Yield each way in which this code would run code that it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PICKLES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in {"eval", "exec", "yaml.load"} or keywords.get("allow_pickle", "False") != "False":
                yield called
            if called == "torch.load" and keywords.get("weights_only") != "True":
                yield called


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, pickle as p",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "eval(text)",
    ],
)
def test_what_runs_code_from_data_is_recognised(code: str) -> None:
    assert list(unsafe(ast.parse(code)))


@pytest.mark.parametrize("code", ["import json", "torch.load(p, weights_only=True)", "np.load(p, allow_pickle=False)"])
def test_what_is_safe_is_left_alone(code: str) -> None:
    assert not list(unsafe(ast.parse(code)))


@pytest.mark.parametrize("package", ["stream", "serving", "training", "deploy", "tests"])
def test_nothing_that_is_read_can_run_code(package: str, root: Path) -> None:
    found = {str(source): list(unsafe(ast.parse(source.read_text()))) for source in (root / package).rglob("*.py")}
    assert not {source: calls for source, calls in found.items() if calls}


def test_only_the_settings_read_the_environment(root: Path) -> None:
    for package in ("stream", "serving", "training"):
        for source in (root / package).rglob("*.py"):
            if source != root / "stream" / "settings" / "sources.py":
                assert "os.environ" not in source.read_text(), f"{source} reads the environment; make it a setting"


def test_no_test_sleeps(root: Path) -> None:
    # tests/waiting.py waits for an effect with a deadline, and sleeps between two looks at it. The program that plays
    # faults is no test: a freeze lasts as long as it lasts.
    programs = {path for path in (root / "tests/end_to_end/chaos").glob("*.py") if not path.name.startswith("test_")}
    for source in set((root / "tests").rglob("*.py")) - {root / "tests" / "waiting.py"} - programs:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"time.sleep", "sleep"}, f"{source} sleeps; use tests.waiting"


def test_onnx_runtime_is_imported_in_one_place_which_turns_its_telemetry_off_first(root: Path) -> None:
    importing = [
        str(source.relative_to(root))
        for package in ("stream", "serving", "training", "deploy")
        for source in (root / package).rglob("*.py")
        if "import onnxruntime" in source.read_text()
    ]
    assert importing == ["serving/encoders/runtime.py"]


def test_loading_a_network_leaves_no_trace_of_telemetry(tmp_path: Path) -> None:
    """ONNX Runtime with telemetry on keeps its session in the temporary folder, and its queue in the home folder."""
    environment = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import serving.encoders.runtime"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
