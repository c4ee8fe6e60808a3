"""Kafka's security settings as Faust's consumer and as librdkafka take them."""

import time
from typing import Any

import faust
from aiokafka.abc import AbstractTokenProvider

from stream.settings import KafkaSettings


def credentials(kafka: KafkaSettings) -> Any:
    """Return Faust's credentials, None for a broker that wants none.

    Raises:
        SettingsError: a certificate or key file that cannot be used.

    """
    context = kafka.ssl_context()
    if kafka.sasl_mechanism == "OAUTHBEARER" and kafka.sasl_oauth_token is not None:
        return faust.OAuthCredentials(
            oauth_cb=_FixedToken(kafka.sasl_oauth_token.get_secret_value()), ssl_context=context
        )
    if kafka.sasl_mechanism is not None and kafka.sasl_password is not None:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


class _FixedToken(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token


# A token that the operator gave does not change; librdkafka asks again when this has passed.
TOKEN_LIFE_S = 3600.0


def librdkafka_security(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the same as librdkafka's configuration."""
    options: dict[str, Any] = {
        "security.protocol": kafka.security_protocol.lower(),
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.username": kafka.sasl_username,
        "sasl.password": kafka.sasl_password and kafka.sasl_password.get_secret_value(),
        "ssl.ca.location": kafka.ssl_ca_file and str(kafka.ssl_ca_file),
        "ssl.certificate.location": kafka.ssl_certificate_file and str(kafka.ssl_certificate_file),
        "ssl.key.location": kafka.ssl_key_file and str(kafka.ssl_key_file),
    }
    if kafka.sasl_oauth_token is not None:
        token = kafka.sasl_oauth_token.get_secret_value()
        options["oauth_cb"] = lambda _: (token, time.time() + TOKEN_LIFE_S)
    return {name: value for name, value in options.items() if value is not None}
