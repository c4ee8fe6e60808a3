"""The command line: every failure is one sentence with the right exit code, and help is for newcomers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.cli import EXTRA_OF_MODULE, PANELS, build_app, run
from serving.errors import BundleError, WrongUse

FAILURES = {
    "failing": BundleError("bundle 42 has no manifest; build it again"),
    "misused": WrongUse("k = 0 is too small; use 1 or more"),
    "buggy": KeyError("x\ny"),
    "interrupted": KeyboardInterrupt(),
    "refused": OSError(28, "No space left on device", "/full/items.npy"),
    "torchless": ModuleNotFoundError("No module named 'torch'", name="torch"),
    "mistyped": ModuleNotFoundError("No module named 'torchh'", name="torchh"),
}

# The commands with --json FILE, with what each cannot do without.
WRITING_JSON = {
    "bundle show": ["nowhere"],
    "config show": [],
    "dead-letters show": [],
    "evaluate": ["nowhere", "--data", "nowhere"],
    "compare": ["nowhere", "nowhere", "--data", "nowhere"],
    "topics check": [],
    "topics describe": [],
    "watch": [],
}


@pytest.fixture
def app() -> typer.Typer:
    """`nextclick` with a command for each way to fail."""
    app = build_app()

    def add(name: str, error: BaseException) -> None:
        @app.command(name)
        def fail() -> None:
            raise error

    for name, error in FAILURES.items():
        add(name, error)
    return app


def commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(f"{path} {name}", child)

    yield from walk("nextclick", typer.main.get_command(app))


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("failing", 1, "nextclick: bundle 42 has no manifest; build it again\n"),
        ("misused", 2, "nextclick: k = 0 is too small; use 1 or more\n"),
        ("interrupted", 130, ""),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(
    name: str, code: int, sentence: str, app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, [name]) == code
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("buggy", ["this is a bug in nextclick (KeyError: 'x\\ny')", "--debug"]),
        ("refused", ["refused: No space left on device (/full/items.npy)", "--debug"]),
        ("torchless", ["torch", "pip install '.[train]'"]),
        ("mistyped", ["this is a bug", "torchh"]),
    ],
)
def test_what_nobody_foresaw_says_what_to_do(
    name: str, says: list[str], app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, [name]) == 1
    message = capsys.readouterr().err
    assert all(part in message for part in says)
    assert message.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "failing"], ["failing", "--debug"]])
def test_debug_adds_the_traceback(arguments: list[str], app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("Traceback")
    assert message.endswith("nextclick: bundle 42 has no manifest; build it again\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "No such command 'nonsense'; see `nextclick --help`"),
        (["config"], "Missing command; see `nextclick config --help`"),
        (["config", "show", "--nonsense"], "No such option: --nonsense; see `nextclick config show --help`"),
        (["config", "show", "--config"], "--config needs the name of a settings file (TOML) after it"),
        (["--config", "missing.toml", "config", "show"], "the settings file missing.toml cannot be read"),
        (["config", "show", "--config=missing.toml"], "the settings file missing.toml cannot be read"),
    ],
)
def test_a_wrong_use_is_a_sentence_with_exit_code_2(
    arguments: list[str], sentence: str, app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"nextclick: {sentence}")) == ("", True)


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(build_app(), ["--version"]) == 0
    assert capsys.readouterr().out == f"nextclick {version('nextclick')}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_is_what_comes_without_a_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(build_app(), arguments) == 0
    shown = capsys.readouterr().out
    assert "\n      nextclick demo   " in shown, "examples keep their lines"
    assert all(f"\n  {name} " in shown for names in PANELS.values() for name in names)


def test_the_commands_are_those_in_the_panels() -> None:
    root = typer.main.get_command(build_app())
    assert set(getattr(root, "commands", {})) == {name for names in PANELS.values() for name in names}


def test_every_command_has_help_and_every_leaf_an_example() -> None:
    for path, command in commands(build_app()):
        assert command.help, path
        if not hasattr(command, "commands"):
            assert f"\n    {path}" in command.help, f"{path} --help shows no example that starts with 4 spaces"


def test_every_option_says_what_it_does_and_leaves_the_global_ones_alone() -> None:
    for path, command in commands(build_app()):
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{path}: {parameter.name}"
            if path != "nextclick":
                assert not {"--config", "--debug"} & set(parameter.opts), path


def test_json_goes_to_a_file_in_every_command_that_has_it() -> None:
    found = set()
    for path, command in commands(build_app()):
        for parameter in command.params:
            if "--json" in parameter.opts:
                assert parameter.metavar == "FILE", path
                found.add(path.removeprefix("nextclick "))
    assert found == set(WRITING_JSON)


def test_the_extras_that_are_named_bring_what_is_missing() -> None:
    wanted = requires("nextclick") or []
    for module, extra in EXTRA_OF_MODULE.items():
        distribution = module.replace("_", "-")
        assert any(line.startswith(distribution) and f"extra == '{extra}'" in line for line in wanted), module


def test_config_show_tells_values_and_origins_and_hides_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "shop.toml"
    config.write_text('[worker]\napp_id = "shop"\n[kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\n')
    monkeypatch.setenv("NEXTCLICK_KAFKA__SASL_USERNAME", "somebody")
    monkeypatch.setenv("NEXTCLICK_KAFKA__SASL_PASSWORD", "hunter2")
    report = tmp_path / "settings.json"

    assert run(build_app(), ["config", "show", "--config", str(config)]) == 0
    assert run(build_app(), ["config", "show", "--config", str(config), "--json", str(report)]) == 0

    table = capsys.readouterr().out
    written = json.loads(report.read_text())
    assert written["worker.app_id"] == {"value": "shop", "from": str(config)}
    assert written["kafka.sasl_username"] == {"value": "somebody", "from": "NEXTCLICK_KAFKA__SASL_USERNAME"}
    assert written["serving.list_size"] == {"value": 20, "from": "default"}
    assert all(key in table for key in written)
    assert "hunter2" not in table + report.read_text()


@pytest.mark.parametrize("command", WRITING_JSON)
def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTCLICK_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    missing = tmp_path / "missing" / "report.json"
    assert run(build_app(), [*command.split(), *WRITING_JSON[command], "--json", str(missing)]) == 2
    sentence = f"there is no directory {missing.parent} to write report.json to: make it first, or name another"
    assert capsys.readouterr().err == f"nextclick: {sentence}\n"


def test_a_closed_pipe_is_no_failure_that_anybody_sees() -> None:
    command = f"{sys.executable} -c 'from deploy.cli import main; main()' --help | true"
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=True).stderr == b""
