"""How to reach Kafka, and what its clients are told about it."""

import re
import ssl
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from stream.errors import SettingsError
from stream.settings.base import Group, UserPath

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


def _addresses(value: str) -> str:
    for address in value.split(","):
        match = re.fullmatch(r"\s*(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})\s*", address)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(f"{address.strip()!r} is no host:port; write for example kafka-1:9092,kafka-2:9092")
    return value


Addresses = Annotated[str, AfterValidator(_addresses)]


class KafkaSettings(Group):
    """How to reach Kafka."""

    bootstrap_servers: Addresses = "127.0.0.1:9092"
    """Addresses of some of the brokers, `host:port`, separated by commas."""

    fetch_max_wait_ms: int = Field(100, ge=1, le=10_000)
    """How long a broker may hold a fetch that finds nothing. Apache Kafka answers at once when a record comes, so any
    value will do; the embedded broker looks again only twice in this time. Milliseconds."""

    compression: Literal["none", "lz4", "zstd", "snappy", "gzip"] = "lz4"
    """How what a worker writes is packed; see docs/benchmarks.md for what it costs and saves."""

    linger_ms: float = Field(0.0, ge=0, le=1_000)
    """How long a worker waits for more records before it sends lists. 0: the lowest latency. States, and the lists of a
    backlog (batches of 128 and more), linger for at least 5 ms whatever this says: nobody waits for a millisecond of
    them. Milliseconds."""

    delivery_timeout_s: float = Field(300.0, ge=1, le=86_400)
    """A worker that cannot get a record written for so long ends; what it answers is read again. Seconds."""

    security_protocol: SecurityProtocol = "PLAINTEXT"
    """How the connection is protected; must be what the broker's listener speaks."""

    sasl_mechanism: SaslMechanism | None = None
    """How to log in; needed with `SASL_PLAINTEXT` and `SASL_SSL`."""

    sasl_username: str | None = None
    """The name to log in with; for `PLAIN` and `SCRAM-*`."""

    sasl_password: SecretStr | None = None
    """The password to log in with; for `PLAIN` and `SCRAM-*`. Better in the environment than in a file."""

    sasl_oauth_token: SecretStr | None = None
    """The bearer token to log in with; for `OAUTHBEARER`."""

    ssl_ca_file: UserPath | None = None
    """Certificates (PEM) that the broker's certificate must lead to; the system's when unset."""

    ssl_certificate_file: UserPath | None = None
    """This client's own certificate (PEM), where the broker asks for one."""

    ssl_key_file: UserPath | None = None
    """The key (PEM, not encrypted) of that certificate."""

    @model_validator(mode="after")
    def _credentials_fit_the_protocol(self) -> Self:
        sasl = {name: value for name, value in self if name.startswith("sasl_") and name != "sasl_mechanism" and value}
        needed: dict[str | None, set[str]] = {None: set(), "OAUTHBEARER": {"sasl_oauth_token"}}
        wanted = needed.get(self.sasl_mechanism, {"sasl_username", "sasl_password"})
        if not self.security_protocol.startswith("SASL_") and (sasl or self.sasl_mechanism):
            given = sorted(sasl) or ["sasl_mechanism"]
            raise ValueError(
                f"kafka.{given[0]} is set, but kafka.security_protocol = {self.security_protocol!r} does not log in;"
                " set it to SASL_SSL or SASL_PLAINTEXT, or leave the sasl_* settings out"
            )
        if self.security_protocol.startswith("SASL_") and self.sasl_mechanism is None:
            raise ValueError(
                f"kafka.security_protocol = {self.security_protocol!r} needs kafka.sasl_mechanism;"
                " set it to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
            )
        if missing := wanted - sasl.keys():
            names = " and ".join(f"kafka.{name}" for name in sorted(missing, reverse=True))
            raise ValueError(f"kafka.sasl_mechanism = {self.sasl_mechanism!r} needs {names}; set it, or another one")
        return self

    @property
    def servers(self) -> list[str]:
        """The addresses, one by one."""
        return [address.strip() for address in self.bootstrap_servers.split(",")]

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, for kafka-python and aiokafka alike; None where the protocol has no TLS.

        Raises:
            SettingsError: a certificate or key file that cannot be read or does not fit.

        """
        if self.security_protocol not in {"SSL", "SASL_SSL"}:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
            if self.ssl_certificate_file is not None:
                # An empty password makes an encrypted key an error; without one OpenSSL would ask on the terminal.
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file, password="")
        except OSError as error:
            files = [str(path) for path in (self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file) if path]
            raise SettingsError(
                f"TLS cannot be set up with {', '.join(files)} ({error}); kafka.ssl_ca_file, kafka.ssl_certificate_file"
                " and kafka.ssl_key_file must be readable PEM files that belong together"
            ) from error
        return context

    def client_options(self) -> dict[str, Any]:
        """Return the connection arguments of kafka-python's producer, consumer and admin client."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
        }
        if self.sasl_password is not None:
            options["sasl_plain_password"] = self.sasl_password.get_secret_value()
        if self.sasl_oauth_token is not None:
            options["sasl_oauth_token_provider"] = _token_provider(self.sasl_oauth_token)
        return {name: value for name, value in options.items() if value is not None}


def _token_provider(secret: SecretStr) -> Any:
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class FixedToken(AbstractTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            return secret.get_secret_value()

    return FixedToken()
