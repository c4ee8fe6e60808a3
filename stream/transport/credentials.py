"""Kafka's security settings as Faust takes them."""

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
