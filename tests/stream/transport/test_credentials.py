import logging
import time
from pathlib import Path
from typing import Any

import confluent_kafka
import faust
import pytest
from faust.types.auth import AuthProtocol, SASLMechanism

from stream.settings import KafkaSettings
from stream.transport.credentials import credentials, librdkafka_security
from stream.transport.producer import producer_options


def kafka(protocol: str, **settings: str) -> KafkaSettings:
    return KafkaSettings.model_validate({"security_protocol": protocol, **settings})


# Made for these tests; they protect nothing.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBiDCCAS+gAwIBAgIUFOvTq3X4eJWePGICo1qfJwKnCX8wCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwObmV4dGNsaWNrLXRlc3QwIBcNMjYxMTIyMTc0NzUxWhgPMjEy
NjEwMjkxNzQ3NTFaMBkxFzAVBgNVBAMMDm5leHRjbGljay10ZXN0MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEXfc11wQBBjrehXcA/f/Q2I0v7IJEMfJkkXMsCgAw
uMzDIOKZ/NBqXgv7DLD6c6GOljeJ6ZtLg4VT5UZpGLguA6NTMFEwHQYDVR0OBBYE
FAuI496cLNSuDYcwXXCDUUapNPUhMB8GA1UdIwQYMBaAFAuI496cLNSuDYcwXXCD
UUapNPUhMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgBMromlnD
8WvBdgJuaLI60jaSRM9Yt2QIi+ekj32M7wYCICNj2AxMeH/O5yldkxh9wTOwq0l4
/4SH2XgLYdia2ytN
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZqC6AUXkyK9aHksR
3D0bATVMi0NGFNxlgx1dlxlkgcShRANCAARd9zXXBAEGOt6FdwD9/9DYjS/sgkQx
8mSRcywKADC4zMMg4pn80GpeC/sMsPpzoY6WN4npm0uDhVPlRmkYuC4D
-----END PRIVATE KEY-----
"""
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


def producer(kafka: KafkaSettings) -> confluent_kafka.Producer:
    """What a worker makes; an option that librdkafka does not know or cannot use raises here."""
    return confluent_kafka.Producer(producer_options(kafka), logger=logging.getLogger(__name__))


TOKEN = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token": "token"}


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd", "snappy", "gzip"])
def test_librdkafka_takes_every_compression(compression: str) -> None:
    producer(kafka("PLAINTEXT", compression=compression, linger_ms="2.5"))
    with pytest.raises(confluent_kafka.KafkaException, match="zip"):
        confluent_kafka.Producer({**producer_options(kafka("PLAINTEXT")), "compression.type": "zip"})


@pytest.mark.parametrize(
    ("protocol", "settings", "expected"),
    [
        ("PLAINTEXT", {}, {"security.protocol": "plaintext"}),
        ("SSL", {}, {"security.protocol": "ssl"}),
        *(
            (
                protocol,
                {"sasl_mechanism": mechanism, **LOGIN},
                {
                    "security.protocol": protocol.lower(),
                    "sasl.mechanism": mechanism,
                    "sasl.username": "shop",
                    "sasl.password": "secret",
                },
            )
            for protocol in ("SASL_PLAINTEXT", "SASL_SSL")
            for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
        ),
    ],
)
def test_librdkafka_takes_every_way_to_log_in(
    protocol: str, settings: dict[str, str], expected: dict[str, str]
) -> None:
    assert librdkafka_security(kafka(protocol, **settings)) == expected
    producer(kafka(protocol, **settings))


def test_librdkafka_takes_our_certificates(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    files = {"ssl_ca_file": certificate, "ssl_certificate_file": certificate, "ssl_key_file": key}
    settings = kafka("SSL", **{name: str(path) for name, path in files.items()})
    producer(settings)
    assert credentials(settings) is not None
    key.write_text("no key")
    with pytest.raises(confluent_kafka.KafkaException, match=r"ssl\.key\.location"):
        producer(settings)


def test_librdkafka_asks_for_the_token_and_again_before_an_hour_is_over() -> None:
    asked: Any = librdkafka_security(kafka("SASL_PLAINTEXT", **TOKEN))["oauth_cb"]
    token, good_until = asked("")
    assert token == "token"
    assert 3_000 < good_until - time.time() <= 3_600
    producer(kafka("SASL_SSL", **TOKEN))


def test_what_is_written_is_written_once_and_by_all_replicas() -> None:
    options = producer_options(kafka("PLAINTEXT", bootstrap_servers="a:1, b:2", delivery_timeout_s="12.5"))
    assert options["enable.idempotence"] is True  # which implies acks=all; librdkafka refuses anything else
    assert options["bootstrap.servers"] == "a:1,b:2"
    assert options["message.timeout.ms"] == 12_500
    with pytest.raises(confluent_kafka.KafkaException, match="acks"):
        confluent_kafka.Producer({**options, "acks": 1})
