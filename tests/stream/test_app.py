from collections.abc import Callable
from pathlib import Path

import faust
import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from stream.app import AGENT
from stream.contract.specs import changelog_name
from stream.settings import KafkaSettings, Settings
from stream.transport.credentials import credentials
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
    assert bench.application.agent.name == AGENT
    assert set(app.agents) == {AGENT}
    assert set(app.tables) == {"sessions"}
    assert bench.application.agent.channel.get_topic_name() == "clicks"
    assert bench.application.table.changelog_topic_name == changelog_name(Settings())


def test_an_application_makes_no_folder(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bench.application.faust._create_directories()
    assert list(tmp_path.iterdir()) == []


def kafka(protocol: str, **settings: str) -> KafkaSettings:
    return KafkaSettings.model_validate({"security_protocol": protocol, **settings})


LOGIN = {"sasl_username": "shop", "sasl_password": "secret"}


def test_a_plain_broker_wants_no_credentials() -> None:
    assert credentials(kafka("PLAINTEXT")) is None


def test_tls_alone_is_a_context() -> None:
    found = credentials(kafka("SSL"))
    assert isinstance(found, faust.SSLCredentials)
    assert found.context is not None


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_password_goes_with_its_mechanism_and_protocol(protocol: str, mechanism: str) -> None:
    found = credentials(kafka(protocol, sasl_mechanism=mechanism, **LOGIN))
    assert isinstance(found, faust.SASLCredentials)
    assert (found.protocol, found.mechanism) == (AuthProtocol(protocol), SASLMechanism(mechanism))
    assert (found.username, found.password) == ("shop", "secret")


async def test_a_token_is_handed_to_aiokafka() -> None:
    found = credentials(kafka("SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_oauth_token="token"))
    assert isinstance(found, faust.OAuthCredentials)
    assert found.protocol == AuthProtocol.SASL_SSL
    assert await found.oauth_cb.token() == "token"
