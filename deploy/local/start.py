"""Brokers by the names that the command line uses for them."""

from deploy.local.broker import LocalBroker
from deploy.local.embedded import EmbeddedBroker
from deploy.local.kafka import KafkaBroker

BROKERS: dict[str, type[LocalBroker]] = {broker.kind: broker for broker in (EmbeddedBroker, KafkaBroker)}


def local_broker(kind: str, port: int | None = None) -> LocalBroker:
    """Return the broker of this kind (`embedded` or `kafka`), which `with` starts."""
    return BROKERS[kind](port)
