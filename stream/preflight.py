"""What must be true of Kafka before a worker joins its group, found out with sentences for what is not."""

from typing import Any

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from stream.errors import BrokerError, TopicError
from stream.settings import Settings
from stream.state.table import TABLE, Source

REMEDY = "`nextclick topics create` makes what is missing"


def find_source(settings: Settings) -> Source:
    """Wait for Kafka, check the topics that a worker needs, and return what its states will count.

    Raises:
        BrokerError: Kafka does not answer within `worker.broker_wait_s`, or refuses this client.
        TopicError: a topic is missing, or the changelog does not fit the clicks.

    """
    kafka, topics = settings.kafka, settings.topics
    changelog = f"{settings.worker.app_id}-{TABLE}-changelog"
    found = _describe(settings, [topics.clicks, topics.recommendations, topics.dead_letters, changelog])
    missing = [name for name, topic in found.items() if not topic["partitions"]]
    if missing:
        names = ", ".join(missing)
        raise TopicError(f"Kafka at {kafka.bootstrap_servers} has no topic {names}; {REMEDY}")
    partitions = {name: len(topic["partitions"]) for name, topic in found.items()}
    if partitions[changelog] != partitions[topics.clicks]:
        raise TopicError(
            f"topic {topics.clicks} has {partitions[topics.clicks]} partitions, {changelog} {partitions[changelog]}, "
            f"but states are kept by partition, so they must be equal. Delete {changelog} and run "
            "`nextclick topics create`, or set worker.app_id to a new name; both begin with empty sessions"
        )
    return Source(topics.clicks, partitions[topics.clicks], _topic_id(found[topics.clicks]))


def _describe(settings: Settings, names: list[str]) -> dict[str, dict[str, Any]]:
    wait_ms = int(settings.worker.broker_wait_s * 1000)
    try:
        # Kafka-python tries again and again for so long.
        admin = KafkaAdminClient(**settings.kafka.client_options(), bootstrap_timeout_ms=wait_ms)
    except KafkaError as error:
        raise BrokerError(
            f"Kafka at {settings.kafka.bootstrap_servers} did not answer within {settings.worker.broker_wait_s:g} s "
            f"({error}); check kafka.bootstrap_servers and the security settings, or start a broker: `nextclick broker`"
        ) from error
    try:
        return {topic["name"]: topic for topic in admin.describe_topics(names)}
    except KafkaError as error:
        raise BrokerError(
            f"Kafka at {settings.kafka.bootstrap_servers} does not describe its topics ({error}); try again"
        ) from error
    finally:
        admin.close()


def _topic_id(topic: dict[str, Any]) -> str | None:
    found = topic.get("topic_id")
    # Brokers before 2.8 know no ids, and all zeros is how one says so.
    return str(found) if found and set(str(found)) - set("0-") else None
