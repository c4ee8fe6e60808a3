"""Topics on a real broker: describe, create and check them, with every failure a sentence."""

from collections.abc import Iterable
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaTimeoutError, for_code

from stream.clients import admin_client
from stream.contract.specs import FoundTopic, TopicSpec, find_problems, missing_topics, topic_specs
from stream.errors import TopicError
from stream.settings import Settings

CREATE_TIMEOUT_S = 60
TOPIC_ALREADY_EXISTS = 36


def describe_topics(settings: Settings) -> dict[str, FoundTopic]:
    """Return those of the service's topics that exist, by name; `BrokerError` when Kafka is not reached."""
    names = [spec.name for spec in topic_specs(settings)]
    with admin_client(settings.kafka) as client:
        return _describe(client, names)


def _describe(client: Any, names: list[str]) -> dict[str, FoundTopic]:
    topics = {topic["name"]: topic for topic in client.describe_topics(names) if topic["partitions"]}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    # Tansu calls even a value that was set a default, so kafka-python's filters would drop it.
    answer = client.describe_configs(resources, config_filter="all") if resources else {}
    configs = {
        name: {key: entry["value"] for key, entry in entries.items() if entry["value"] is not None}
        for name, entries in answer.get("topic", {}).items()
    }
    return {
        name: FoundTopic(
            len(topic["partitions"]),
            min(len(partition["replica_nodes"]) for partition in topic["partitions"]),
            usable_id(topic.get("topic_id")),
            configs.get(name, {}),
        )
        for name, topic in topics.items()
    }


def usable_id(found: Any) -> str | None:
    """Return a topic's id, None where the broker gives none."""
    # All zeros is how a broker says that it gives no ids.
    return str(found) if found and set(str(found)) - set("0-") else None


def create_topics(settings: Settings) -> list[str]:
    """Create the topics that do not exist and wait until they can be used; existing ones stay as they are.

    Returns:
        The names of those that were created.

    Raises:
        BrokerError: Kafka is not reached.
        TopicError: Kafka refuses a topic; the message has its reason.

    """
    with admin_client(settings.kafka) as client:
        specs = missing_topics(settings, _describe(client, [spec.name for spec in topic_specs(settings)]))
        if not specs:
            return []
        wanted = {spec.name: _creation(spec, settings.topics.replication_factor) for spec in specs}
        answer = client.create_topics(wanted, raise_errors=False)
        _raise_refused(answer["topics"])
        _wait_until_usable(client, wanted)
        return [topic["name"] for topic in answer["topics"] if topic["error_code"] == 0]


def _creation(spec: TopicSpec, replication_factor: int) -> dict[str, Any]:
    return {
        "num_partitions": spec.partitions,
        "replication_factor": replication_factor,
        "configs": spec.config,
    }


def _raise_refused(topics: Iterable[dict[str, Any]]) -> None:
    refused: dict[str, list[str]] = {}
    for topic in topics:
        if (code := topic["error_code"]) not in {0, TOPIC_ALREADY_EXISTS}:
            reason = topic["error_message"] or for_code(code).description or for_code(code).__name__
            refused.setdefault(reason.rstrip("."), []).append(topic["name"])
    if refused:
        raise TopicError(
            "; ".join(f"Kafka does not create {', '.join(names)}: {why}" for why, names in refused.items())
        )


def _wait_until_usable(client: Any, names: Iterable[str]) -> None:
    """Return when every partition has a leader: Kafka answers before that, and producers then wait or fail."""
    try:
        client.wait_for_topics(list(names), timeout_ms=CREATE_TIMEOUT_S * 1000)
    except KafkaTimeoutError as error:
        raise TopicError(
            f"new topics are not usable after {CREATE_TIMEOUT_S} s ({error}); look at the broker"
        ) from error


def delete_topics(settings: Settings) -> list[str]:
    """Delete those of the service's topics that exist, with all that is in them, and return their names."""
    with admin_client(settings.kafka) as client:
        names = list(_describe(client, [spec.name for spec in topic_specs(settings)]))
        if names:
            client.delete_topics(names)
    return names


def check_topics(settings: Settings) -> list[str]:
    """Return what is wrong with the topics, a sentence each; empty when all is well."""
    return find_problems(settings, describe_topics(settings))
