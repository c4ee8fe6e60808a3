"""The demo's worker takes its settings from the demo, whatever stands in the environment."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.demo.run import changed_settings
from deploy.demo.worker import WorkerProcess, to_toml
from stream.contract.topics import create_topics
from stream.settings import Settings, load_settings
from tests.tiny_bundle import write_tiny_bundle


def test_settings_survive_the_file_whatever_they_hold(tmp_path: Path) -> None:
    values = {"a.text": 'quo"te \\ back', "a.path": Path("/etc/ca.pem"), "b.number": 3, "b.share": 0.5, "b.yes": True}
    read = tomllib.loads(to_toml(values))
    assert read == {
        "a": {"text": 'quo"te \\ back', "path": "/etc/ca.pem"},
        "b": {"number": 3, "share": 0.5, "yes": True},
    }


def test_changed_settings_make_the_same_settings_again(tmp_path: Path) -> None:
    settings = load_settings(None, {"kafka.bootstrap_servers": "10.0.0.1:9", "serving.exclude": "seen"})
    config = tmp_path / "worker.toml"
    config.write_text(to_toml(changed_settings(settings)))
    assert load_settings(config) == settings


@pytest.mark.end_to_end
def test_variables_of_the_users_do_not_reach_the_worker(
    embedded_broker: str, new_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_settings(embedded_broker)
    create_topics(settings)
    monkeypatch.setenv("NEXTCLICK_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("NEXTCLICK_MONITORING__PORT", "1")
    bundle = write_tiny_bundle(tmp_path / "bundle")
    with WorkerProcess(bundle.directory, changed_settings(settings)) as worker:
        worker.check()
