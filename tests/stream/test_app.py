from collections.abc import Callable
from pathlib import Path

import pytest

from stream.contract.specs import changelog_name
from stream.settings import Settings
from tests.stream.bench import Bench

NewBench = Callable[..., Bench]


def test_faust_reads_no_variable_of_its_own(new_bench: NewBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", "kafka://elsewhere:1")
    monkeypatch.setenv("APP_ID", "other")
    monkeypatch.setenv("WEB_ENABLED", "1")
    monkeypatch.setenv("TOPIC_ALLOW_DECLARE", "1")
    conf = new_bench().application.faust.conf
    assert [str(url) for url in conf.broker] == ["nextclick://127.0.0.1:9092"]
    assert (conf.id, conf.web_enabled, conf.topic_allow_declare) == ("nextclick", False, False)


def test_names_do_not_depend_on_where_the_code_is(bench: Bench) -> None:
    app = bench.application.faust
    assert [topic.get_topic_name() for topic in app.topics] == ["clicks"]
    assert (set(app.agents), set(app.tables)) == (set(), {"sessions"})
    assert bench.application.table.changelog_topic_name == changelog_name(Settings())


def test_an_application_makes_no_folder(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bench.application.faust._create_directories()
    assert list(tmp_path.iterdir()) == []
