"""The topics of a service: their names, what is in them, how they are made, and what may be wrong with them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from stream.settings import Settings

SESSION_TABLE = "sessions"

DELETE = {"cleanup.policy": "delete"}
COMPACT = {"cleanup.policy": "compact"}
# The broker's clock, not the producer's, limits how far an event's own time can move its partition's watermark.
CLICKS = DELETE | {"message.timestamp.type": "LogAppendTime"}
# Kafka compacts only segments that it has closed, and closes them at 1 GB or 7 days: until then a worker that starts
# would read every state that any session ever had.
SMALL_SEGMENTS = {"segment.bytes": str(64 * 2**20)}


class TopicSpec(NamedTuple):
    """One topic as this service needs it.

    `setting` is the key that names it, `key` and `value` say what its records hold, `partitions` and `config` how it
    is made; `one_partition` means that it must never have more, because its order matters as a whole.
    """

    setting: str
    name: str
    key: str
    value: str
    partitions: int
    config: dict[str, str]
    one_partition: bool = False


class FoundTopic(NamedTuple):
    """One topic as the broker describes it.

    `topic_id` is None where the broker gives topics no ids (Kafka before 2.8). `config` holds what the broker tells:
    Kafka every value in force, Tansu only those that the topic was created with.
    """

    partitions: int
    replication_factor: int
    topic_id: str | None
    config: dict[str, str]


def changelog_name(settings: Settings) -> str:
    """Return the name of the session table's changelog: Faust's, for an application of version 1."""
    return f"{settings.worker.app_id}-{SESSION_TABLE}-changelog"


def min_compaction_lag_ms(settings: Settings) -> int:
    """Return how long every state must stay in the changelog, even when a newer one of its session follows.

    A worker that was frozen for a session timeout may still write states older than those of its successor. Recovery
    takes the state with the highest applied offset, which must therefore not be compacted away behind such a write.
    """
    return round((settings.serving.session_gap_s + settings.worker.session_timeout_s) * 1000)


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return all topics of the service that these settings describe, clicks first."""
    names, partitions = settings.topics, settings.topics.partitions
    changelog = COMPACT | SMALL_SEGMENTS | {"min.compaction.lag.ms": str(min_compaction_lag_ms(settings))}
    erased = "keyed hash of a session or user id"
    return [
        TopicSpec("topics.clicks", names.clicks, "session id", "click event", partitions, CLICKS),
        TopicSpec("topics.recommendations", names.recommendations, "session id", "recommendation", partitions, DELETE),
        TopicSpec("topics.dead_letters", names.dead_letters, "as received", "as received", partitions, DELETE),
        TopicSpec("topics.catalogue", names.catalogue, "item id", "item; null deletes", 1, COMPACT, True),
        TopicSpec("topics.rules", names.rules, "slot", "the operator's rules", 1, COMPACT, True),
        TopicSpec("topics.bundles", names.bundles, "slot", "URI, sha256, share", 1, COMPACT, True),
        TopicSpec("topics.erasures", names.erasures, erased, "what to forget", 1, DELETE, True),
        TopicSpec("worker.app_id", changelog_name(settings), "session id", "session state", partitions, changelog),
    ]


def find_problems(settings: Settings, found: Mapping[str, FoundTopic]) -> list[str]:
    """Return what is wrong with the topics, a sentence each with what to do; empty when all is well.

    Args:
        settings: say which topics there must be.
        found: the existing ones by name; others than ours are ignored.

    """
    specs = topic_specs(settings)
    missing = [spec for spec in specs if spec.name not in found]
    problems = [
        f"topic {spec.name} ({spec.setting}) does not exist; `nextclick topics create` makes it" for spec in missing
    ]
    for spec in specs:
        if spec.name in found:
            problems += _wrong_config(spec, found[spec.name])
            problems += _wrong_partitions(spec, found[spec.name])
    return problems + list(_wrong_changelog(settings, found))


def _wrong_config(spec: TopicSpec, found: FoundTopic) -> Iterator[str]:
    policy, wanted = found.config.get("cleanup.policy"), spec.config["cleanup.policy"]
    if policy is not None and policy != wanted:
        yield (
            f"topic {spec.name} has cleanup.policy={policy}, but must have {wanted}, or Kafka removes records that are "
            "still needed; change it with Kafka's tool kafka-configs"
        )
    clock, right = found.config.get("message.timestamp.type"), spec.config.get("message.timestamp.type")
    if clock is not None and right is not None and clock != right:
        yield (
            f"topic {spec.name} has message.timestamp.type={clock}, but must have {right}, or one producer whose clock "
            "is wrong lets sessions expire that are still alive; change it with kafka-configs"
        )
    lag, least = found.config.get("min.compaction.lag.ms"), spec.config.get("min.compaction.lag.ms")
    if lag is not None and least is not None and int(lag) < int(least):
        yield (
            f"topic {spec.name} has min.compaction.lag.ms={lag}, but must have at least {least} (session gap plus "
            "session timeout), or a frozen worker's late write can undo newer states; change it with kafka-configs"
        )


def _wrong_partitions(spec: TopicSpec, found: FoundTopic) -> Iterator[str]:
    if spec.one_partition and found.partitions != 1:
        yield (
            f"topic {spec.name} has {found.partitions} partitions, but must have one, because the order of all its "
            f"records matters; delete it and run `nextclick topics create`, or set {spec.setting} to a new name"
        )


def _wrong_changelog(settings: Settings, found: Mapping[str, FoundTopic]) -> Iterator[str]:
    clicks, changelog = found.get(settings.topics.clicks), found.get(changelog_name(settings))
    if clicks and changelog and clicks.partitions != changelog.partitions:
        yield (
            f"topic {settings.topics.clicks} has {clicks.partitions} partitions and {changelog_name(settings)} has "
            f"{changelog.partitions}, but states are kept by partition: the two must be equal. Delete "
            f"{changelog_name(settings)} and run `nextclick topics create`, or set worker.app_id to a new name; both "
            "begin with empty sessions"
        )


def missing_topics(settings: Settings, found: Mapping[str, FoundTopic]) -> Sequence[TopicSpec]:
    """Return what must be made, the changelog with as many partitions as the existing clicks topic has."""
    clicks = found.get(settings.topics.clicks)
    specs = [spec for spec in topic_specs(settings) if spec.name not in found]
    if clicks is None:
        return specs
    changelog = changelog_name(settings)
    return [spec._replace(partitions=clicks.partitions) if spec.name == changelog else spec for spec in specs]
