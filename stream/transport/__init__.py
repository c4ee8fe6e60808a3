"""Faust's way to Kafka, with what we change in it: the URL scheme `nextclick`, one file for each change.

Everything here leans on names that Faust does not promise to keep; its version is pinned for that.
"""

from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as stock

from stream.transport.consumer import Consumer
from stream.transport.producer import IdempotentProducer

SCHEME = "nextclick"


class Transport(stock.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = Consumer
    Producer = IdempotentProducer


def register() -> None:
    """Make Faust know the scheme; brokers are then `nextclick://host:port`."""
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
