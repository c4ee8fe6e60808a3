"""Topics on real brokers: made once, described, checked, and told apart when they are made again."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from deploy.cli import build_app, run
from stream.contract.specs import changelog_name, topic_specs
from stream.contract.topics import check_topics, create_topics, delete_topics, describe_topics
from stream.errors import BrokerError, TopicError
from stream.settings import Settings
from tests.waiting import wait_for

NewSettings = Callable[..., Settings]


@pytest.fixture
def as_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], None]:
    """Set the variables that give a command these topics."""

    def set_variables(settings: Settings) -> None:
        for field, name in settings.topics:
            monkeypatch.setenv(f"NEXTCLICK_TOPICS__{field.upper()}", str(name))
        monkeypatch.setenv("NEXTCLICK_WORKER__APP_ID", settings.worker.app_id)
        monkeypatch.setenv("NEXTCLICK_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)

    return set_variables


def test_topics_are_made_once_as_the_settings_say(broker: str, new_settings: NewSettings) -> None:
    settings = new_settings(broker, topics={"partitions": 3})
    names = [spec.name for spec in topic_specs(settings)]
    assert check_topics(settings) != []
    assert create_topics(settings) == names
    assert create_topics(settings) == []
    assert check_topics(settings) == []
    found = describe_topics(settings)
    assert [found[name].partitions for name in names] == [3, 3, 3, 1, 1, 1, 1, 3]
    for spec in topic_specs(settings):
        assert spec.config.items() <= found[spec.name].config.items(), spec.name


def test_clicks_that_are_made_again_have_another_id(broker: str, new_settings: NewSettings) -> None:
    settings = new_settings(broker)
    clicks = settings.topics.clicks
    create_topics(settings)
    first = describe_topics(settings)[clicks].topic_id
    assert first is not None
    assert describe_topics(settings)[clicks].topic_id == first
    assert clicks in delete_topics(settings)
    wait_for(lambda: clicks not in describe_topics(settings))
    wait_for(lambda: clicks in create_topics(settings))
    assert describe_topics(settings)[clicks].topic_id not in {None, first}


def test_a_changelog_that_does_not_fit_is_found(broker: str, new_settings: NewSettings) -> None:
    settings = new_settings(broker)
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics({changelog_name(settings): {"num_partitions": 2, "replication_factor": 1, "configs": {}}})
    admin.close()
    create_topics(settings)
    problems = check_topics(settings)
    assert f"topic {settings.topics.clicks} has 4 partitions and {changelog_name(settings)} has 2" in problems[-1]


def test_a_wrong_policy_is_found(apache_kafka: str | None, new_settings: NewSettings) -> None:
    # Tansu tells only what a topic was created with, so it has nothing to find here.
    if apache_kafka is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    settings = new_settings(apache_kafka)
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka)
    admin.create_topics({changelog_name(settings): {"num_partitions": 4, "replication_factor": 1, "configs": {}}})
    admin.close()
    create_topics(settings)
    policy, lag = check_topics(settings)
    assert "has cleanup.policy=delete, but must have compact" in policy
    assert f"has min.compaction.lag.ms=0, but must have at least {1800_000 + 10_000}" in lag


def test_kafka_refusing_a_topic_says_why(apache_kafka: str | None, new_settings: NewSettings) -> None:
    if apache_kafka is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    settings = new_settings(apache_kafka, topics={"replication_factor": 99})
    with pytest.raises(TopicError, match=f"Kafka does not create {settings.topics.clicks}, .*: .*replicat"):
        create_topics(settings)


def test_a_broker_that_is_away_is_named_with_what_to_do(new_settings: NewSettings) -> None:
    with pytest.raises(BrokerError, match=r"not reached \(127\.0\.0\.1:1: Connection refused; .*start a broker there"):
        describe_topics(new_settings("127.0.0.1:1,nextclick.invalid:9092"))


def test_a_listener_that_is_no_broker_is_said(monkeypatch: pytest.MonkeyPatch, new_settings: NewSettings) -> None:
    monkeypatch.setattr("stream.clients.CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(BrokerError, match=f"Kafka at {address} does not answer as it should"):
            describe_topics(new_settings(address))


def test_the_commands_create_describe_and_check(
    broker: str,
    new_settings: NewSettings,
    as_environment: Callable[[Settings], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = new_settings(broker)
    as_environment(settings)
    report = tmp_path / "topics.json"
    assert run(build_app(), ["topics", "check", "--json", str(report)]) == 1
    assert "does not exist; `nextclick topics create` makes it" in capsys.readouterr().err
    assert '"problems": [' in report.read_text()
    assert run(build_app(), ["topics", "create"]) == 0
    assert f"created  {settings.topics.clicks}\n" in capsys.readouterr().out
    assert run(build_app(), ["topics", "create"]) == 0
    assert f"exists   {settings.topics.clicks}\n" in capsys.readouterr().out
    assert run(build_app(), ["topics", "check"]) == 0
    assert run(build_app(), ["topics", "describe", "--json", str(report)]) == 0
    assert f'"topic": "{settings.topics.clicks}"' in report.read_text()
    capsys.readouterr()
    assert run(build_app(), ["topics", "describe"]) == 0
    assert "recommendation\n" in capsys.readouterr().out
