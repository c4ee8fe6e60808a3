"""kafka-python's clients for commands, each a context manager whose every failure is a sentence.

The worker has clients of its own (Faust's); these serve what people and tests do: topics, replays, watching.
"""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import AuthorizationError, KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError

from stream.errors import BrokerError, TopicError
from stream.settings import KafkaSettings

CONNECT_TIMEOUT_S = 10
CLOSE_TIMEOUT_S = 2
POLL_MS = 100
SILENCE_S = 30


class TopicReader(NamedTuple):
    """A consumer that holds all partitions of one topic, outside any group, and where they began and ended."""

    consumer: Any
    begins: Mapping[Any, int]
    ends: Mapping[Any, int]

    def records(self) -> Iterator[Any]:
        """Yield kafka-python's records as they come, forever."""
        while True:
            for batch in self.consumer.poll(timeout_ms=POLL_MS).values():
                yield from batch

    def present_records(self) -> Iterator[Any]:
        """Yield the records up to the ends, in order within each partition; what comes later is left out."""
        since = time.monotonic()
        # A transaction's marks fill offsets that give no record, so positions tell the end, not records.
        while any(self.consumer.position(partition) < end for partition, end in self.ends.items()):
            batches = self.consumer.poll(timeout_ms=POLL_MS)
            for partition, batch in batches.items():
                yield from (record for record in batch if record.offset < self.ends[partition])
            if batches:
                since = time.monotonic()
            elif time.monotonic() - since > SILENCE_S:
                raise KafkaTimeoutError(f"no record came for {SILENCE_S} s, though there are more")


@contextlib.contextmanager
def broker_errors(kafka: KafkaSettings) -> Iterator[None]:
    """Turn what kafka-python raises into a `BrokerError` that names the address and what to check."""
    try:
        yield
    except AuthorizationError as error:
        raise BrokerError(
            f"Kafka at {kafka.bootstrap_servers} does not allow this ({error}); {_rights(kafka)}"
        ) from error
    except KafkaError as error:
        text = str(error).removeprefix(f"{type(error).__name__}: ")
        raise BrokerError(
            f"Kafka at {kafka.bootstrap_servers} does not answer as it should ({text}); does a broker listen there, "
            "and do the kafka.* security settings fit it?"
        ) from error


def _rights(kafka: KafkaSettings) -> str:
    who = kafka.sasl_username or "this client's user"
    return f"give {who} the rights to describe and to read the topic (to write, for a replay), or log in as another one"


def reach(kafka: KafkaSettings) -> None:
    """Return when one of the addresses takes a connection; else `BrokerError` says what each of them answered.

    Asked before a client is made: kafka-python tries a dead address until its time is over, says only that it did, and
    leaves sockets open.
    """
    answers = []
    for address in kafka.servers:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            answers.append(f"{address}: {error.strerror or error}")
        else:
            return
    raise BrokerError(
        f"Kafka is not reached ({'; '.join(answers)}); start a broker there (on this machine: `nextclick broker`), or "
        "correct kafka.bootstrap_servers (--bootstrap-servers)"
    )


@contextlib.contextmanager
def admin_client(kafka: KafkaSettings) -> Iterator[Any]:
    """Give a connected admin client; `BrokerError` when Kafka is not reached in time."""
    reach(kafka)
    with broker_errors(kafka):
        client = KafkaAdminClient(**kafka.client_options(), bootstrap_timeout_ms=round(CONNECT_TIMEOUT_S * 1000))
        with contextlib.closing(client):
            yield client


@contextlib.contextmanager
def producer_client(kafka: KafkaSettings, **options: Any) -> Iterator[Any]:
    """Give a producer: acknowledged by all replicas, idempotent, its default partitioner that of Java's clients."""
    reach(kafka)
    with broker_errors(kafka):
        client = KafkaProducer(**kafka.client_options(), **options)
        try:
            yield client
        except BaseException:
            _give_up(client)
            raise
        client.close()


def _give_up(producer: Any) -> None:
    """Close a producer within seconds, whatever becomes of what it has not sent yet.

    By default closing waits two minutes for acknowledgements, and an error of its own would hide the one that we have.
    """
    try:
        producer.close(timeout=CLOSE_TIMEOUT_S)
    except KafkaError:
        # Closing ends half-way when flushing takes too long; its own way to force the rest is never reached.
        producer._sender.force_close()
        with contextlib.suppress(KafkaError):
            producer.close(timeout=CLOSE_TIMEOUT_S)


def require_topic(kafka: KafkaSettings, topic: str) -> int:
    """Return how many partitions the topic has.

    Asked before a producer or consumer is made: theirs is a question that lets some brokers make the topic.

    Raises:
        BrokerError: Kafka is not reached.
        TopicError: there is no such topic.

    """
    with admin_client(kafka) as client:
        (found,) = client.describe_topics([topic])
        if found["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(topic)
    if not found["partitions"]:
        raise TopicError(
            f"Kafka at {kafka.bootstrap_servers} has no topic {topic}; `nextclick topics create` makes the topics of a "
            "service"
        )
    return len(found["partitions"])


@contextlib.contextmanager
def topic_reader(
    kafka: KafkaSettings, topic: str, *, from_beginning: bool, skip_lost: bool = True
) -> Iterator[TopicReader]:
    """Give a reader of all partitions of a topic, placed at their beginning or at their end.

    Records that retention removes before they are read are passed over; without `skip_lost`, polling the consumer then
    raises kafka-python's `OffsetOutOfRangeError`.

    Raises:
        BrokerError: Kafka is not reached.
        TopicError: there is no such topic.

    """
    partitions = [TopicPartition(topic, number) for number in range(require_topic(kafka, topic))]
    with broker_errors(kafka):
        consumer = KafkaConsumer(
            **kafka.client_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest" if skip_lost else "none",
            fetch_max_wait_ms=kafka.fetch_max_wait_ms,
        )
        with contextlib.closing(consumer):
            consumer.assign(partitions)
            begins, ends = consumer.beginning_offsets(partitions), _ends(consumer, partitions)
            for partition, offset in (begins if from_beginning else ends).items():
                consumer.seek(partition, offset)
            yield TopicReader(consumer, begins, ends)


def _ends(consumer: Any, partitions: list[Any]) -> dict[Any, int]:
    """Return the offset after each partition's last record, as fetching tells it.

    Not what `end_offsets` says: Tansu answers with the last batch's *first* offset plus one, and whoever reads up to
    there misses the rest of the batch. A fetch tells the truth on every broker.
    """
    for partition, offset in consumer.end_offsets(partitions).items():
        consumer.seek(partition, offset)
    deadline = time.monotonic() + SILENCE_S
    while any(consumer.highwater(partition) is None for partition in partitions):
        consumer.poll(timeout_ms=POLL_MS)
        if time.monotonic() > deadline:
            raise KafkaTimeoutError(f"the topic's ends are not known after {SILENCE_S} s")
    return {partition: consumer.highwater(partition) for partition in partitions}
