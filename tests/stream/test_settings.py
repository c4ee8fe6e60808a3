"""Settings: the order of the sources, and what an unknown key or an unusable value says."""

import os
import ssl
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from serving.errors import WrongUse
from stream.errors import SettingsError
from stream.settings import (
    KafkaSettings,
    Settings,
    TopicSettings,
    WorkerSettings,
    known_settings,
    load_settings,
    load_with_origins,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("NEXTCLICK_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text('[worker]\napp_id = "from-file"\nbatch_max_events = 11\n[topics]\npartitions = 2\n')
    return path


def refusal(config: Path | None = None, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, overrides)
    return str(caught.value)


def test_nothing_said_means_the_defaults() -> None:
    assert load_settings() == Settings()
    assert set(load_with_origins().origins.values()) == {"default"}


def test_the_environment_beats_the_file_and_the_command_line_beats_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTCLICK_WORKER__BATCH_MAX_EVENTS", "22")
    monkeypatch.setenv("NEXTCLICK_TOPICS__PARTITIONS", "3")

    settings, origins = load_with_origins(file, {"topics.partitions": 5, "worker": {"bundle": Path("b")}})

    assert (settings.worker.app_id, origins["worker.app_id"]) == ("from-file", str(file))
    assert settings.worker.batch_max_events == 22
    assert origins["worker.batch_max_events"] == "NEXTCLICK_WORKER__BATCH_MAX_EVENTS"
    assert (settings.topics.partitions, origins["topics.partitions"]) == (5, "the command line")
    assert (settings.worker.bundle, origins["worker.bundle"]) == (Path("b"), "the command line")
    assert origins["worker.commit_interval_s"] == "default"


def test_an_option_that_was_not_given_changes_nothing(file: Path) -> None:
    assert load_settings(file, {"worker.app_id": None}).worker.app_id == "from-file"


def test_settings_made_in_code_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPICS__PARTITIONS", "9")
    assert Settings().topics.partitions == 4


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().worker.app_id = "other"  # type: ignore[misc]


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_WORKER__BUNDLE", "")
    assert load_settings().worker.bundle is None


@pytest.mark.parametrize("name", ["NEXTCLICK_TYPO", "NEXTCLICK_WORKER__TYPO", "NEXTCLICK_KAFKA", "nextclick_typo"])
def test_an_unknown_variable_is_an_error_that_lists_the_known_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    message = refusal()
    assert name in message
    assert all(setting.variable in message for setting in known_settings().values())


def test_a_misspelt_variable_gets_the_right_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_WORKER__BATCH_MAX_EVENT", "1")
    assert "did you mean NEXTCLICK_WORKER__BATCH_MAX_EVENTS?" in refusal()


def test_the_variables_of_a_kubernetes_service_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_SERVICE_HOST", "10.0.0.1")
    assert "enableServiceLinks: false" in refusal()


def test_variables_of_the_tests_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_TEST_BROKERS", "127.0.0.1:1")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[worker]\napp_idd = 'x'", "did you mean worker.app_id?"),
        ("[worker]\nnonsense = 1", "Known: worker.app_id, worker.bundle"),
        ("[typo]\nx = 1", "kafka.bootstrap_servers"),
        ("[typo]", "typo in"),
        ("typo = 1", "typo in"),
        ("kafka = 1", "write [kafka]"),
        ("[worker.app_id]\nx = 1", "worker.app_id.x"),
        ("[worker", "is not TOML"),
    ],
)
def test_a_file_with_anything_unknown_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(text)
    message = refusal(path)
    assert expected in message
    assert str(path) in message


def test_an_empty_table_of_a_known_group_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("[kafka]\n")
    assert load_settings(path) == Settings()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff")])
def test_a_file_that_cannot_be_read_is_an_error_never_the_defaults(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    make(path)
    assert str(path) in refusal(path)


def test_an_unknown_override_is_refused_too() -> None:
    assert "worker.nonsense in the command line is no setting" in refusal(overrides={"worker.nonsense": 1})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("worker.batch_max_events", "many", "a valid integer"),
        ("worker.batch_max_events", "0", "greater than or equal to 1"),
        ("worker.commit_interval_s", "nan", "a finite number"),
        ("monitoring.port", "65536", "less than or equal to 65535"),
        ("serving.exclude", "all", "'none', 'current' or 'seen'"),
        ("kafka.security_protocol", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("kafka.bootstrap_servers", "kafka", "host:port"),
        ("kafka.bootstrap_servers", "kafka:9092,", "host:port"),
        ("kafka.bootstrap_servers", "kafka:99999", "host:port"),
        ("kafka.bootstrap_servers", "kafka://kafka:9092", "host:port"),
        ("topics.clicks", "my clicks", "letters, digits"),
        ("worker.app_id", "", "letters, digits"),
    ],
)
def test_a_bad_value_is_told_with_key_value_source_and_what_is_expected(
    key: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not value:
        assert expected in refusal(overrides={key: value})
        return
    variable = known_settings()[key].variable
    monkeypatch.setenv(variable, value)
    message = refusal()
    assert key in message
    assert repr(value) in message
    assert variable in message
    assert expected in message


def test_every_bad_value_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("[worker]\nbatch_max_events = 0\n[monitoring]\nport = -1\n")
    assert len(refusal(path).splitlines()) == 2


def test_a_wrong_setting_is_a_wrong_use() -> None:
    assert issubclass(SettingsError, WrongUse)
    assert SettingsError.exit_code == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs kafka.sasl_mechanism"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, "kafka.sasl_username and kafka.sasl_password"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "kafka.sasl_oauth_token"),
        ({"sasl_password": "x"}, "does not log in"),
        ({"sasl_mechanism": "PLAIN"}, "does not log in"),
    ],
)
def test_credentials_must_fit_the_protocol(values: dict[str, str], expected: str) -> None:
    assert expected in refusal(overrides={"kafka": values})


def test_topics_must_have_names_of_their_own() -> None:
    message = refusal(overrides={"topics.recommendations": "clicks"})
    assert "topics.clicks and topics.recommendations are both 'clicks'" in message


@given(timeout=st.floats(1, 3600), share=st.floats(0.01, 1))
def test_heartbeats_are_shorter_than_half_the_session_timeout(timeout: float, share: float) -> None:
    interval = timeout * share
    if interval * 2 < timeout:
        assert WorkerSettings(session_timeout_s=timeout, heartbeat_interval_s=interval)
    else:
        with pytest.raises(ValidationError, match="heartbeat_interval_s"):
            WorkerSettings(session_timeout_s=timeout, heartbeat_interval_s=interval)


@given(st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=249))
def test_every_name_that_kafka_takes_is_taken(name: str) -> None:
    if name in {".", ".."}:
        with pytest.raises(ValidationError):
            TopicSettings(clicks=name)
    elif name not in {"recommendations", "dead-letters", "catalogue", "rules", "bundles", "erasures"}:
        assert TopicSettings(clicks=name).clicks == name


@given(
    st.lists(
        st.tuples(st.sampled_from(["kafka", "kafka-1.example", "10.0.0.7", "[::1]"]), st.integers(1, 65535)), min_size=1
    )
)
def test_addresses_come_apart_as_they_were_put_together(pairs: list[tuple[str, int]]) -> None:
    addresses = [f"{host}:{port}" for host, port in pairs]
    assert KafkaSettings(bootstrap_servers=", ".join(addresses)).servers == addresses


def test_a_home_directory_may_be_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_WORKER__BUNDLE", "~/bundles/shop")
    assert load_settings().worker.bundle == Path.home() / "bundles" / "shop"


def test_secrets_are_in_no_representation_and_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_KAFKA__SASL_PASSWORD", "hunter2")
    assert "hunter2" not in refusal()
    settings = load_settings(
        overrides={"kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u"}}
    )
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.kafka.client_options()["sasl_plain_password"] == "hunter2"
    assert "hunter2" not in refusal(overrides={"kafka.sasl_password": 5, "kafka.sasl_oauth_token": ["hunter2"]})


def test_every_setting_is_documented() -> None:
    for setting in known_settings().values():
        assert setting.field.description, setting.key
        assert setting.variable == "NEXTCLICK_" + setting.key.upper().replace(".", "__")


def test_a_client_gets_only_what_is_set() -> None:
    assert KafkaSettings().client_options() == {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "security_protocol": "PLAINTEXT",
    }


def test_a_bearer_token_comes_from_a_provider() -> None:
    kafka = KafkaSettings(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", sasl_oauth_token=SecretStr("t0ken")
    )
    assert kafka.client_options()["sasl_oauth_token_provider"].token() == "t0ken"


def test_tls_checks_the_host_name() -> None:
    context = KafkaSettings(security_protocol="SSL").client_options()["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(SettingsError, match=r"kafka\.ssl_ca_file") as caught:
        KafkaSettings(security_protocol="SSL", ssl_ca_file=missing).client_options()
    assert str(missing) in str(caught.value)


def test_the_options_are_ones_that_kafka_python_knows() -> None:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

    kafka = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password=SecretStr("p")
    )
    for client in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
        assert kafka.client_options().keys() <= client.DEFAULT_CONFIG.keys()
