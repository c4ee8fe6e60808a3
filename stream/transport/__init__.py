"""Faust's way to Kafka, with what we change in it: the URL scheme `nextclick`, one file for each change.

- `connection`: aiokafka's consumer in the worker's own loop, not in a thread beside it; what it fetches and commits
- `consumer`: from fetched records to finished work to committed offsets, batch by batch
- `work`: what the consumer asks of whoever works on its records
- `membership`: how sure a worker may be that its partitions are still its own
- `producer`: librdkafka writes, and each record has its own delivery report
- `recovery`: a table's recovery that outlasts a broker which is away
- `offsets`: what Faust's consumer knows and keeps to itself
- `link`: all that the pipeline needs of a running application
- `broker`: what the broker tells about the clicks topic, over a connection of its own
- `credentials`: security settings as Faust and as librdkafka take them

What the session table changes in Faust's tables and stores is in `stream.state.table`: it is about sessions, not about
the way to Kafka.

Everything here leans on names that Faust does not promise to keep; its version is pinned for that.
"""

from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as stock

from stream.transport.consumer import Consumer
from stream.transport.producer import Producer

SCHEME = "nextclick"


class Transport(stock.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = Consumer
    Producer = Producer


def register() -> None:
    """Make Faust know the scheme; brokers are then `nextclick://host:port`."""
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
