"""Every setting with its default. The text under a field is its documentation."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from serving.settings import ServingSettings
from stream.settings.base import Group, UserPath
from stream.settings.kafka import KafkaSettings


def _topic_name(value: str) -> str:
    if re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", value) is None or value in {".", ".."}:
        raise ValueError("Kafka takes 1 to 249 letters, digits, dots, underscores and hyphens")
    return value


def _instance_id(value: str) -> str:
    if re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", value) is None:
        raise ValueError("Kafka takes 1 to 249 letters, digits, dots, underscores and hyphens")
    return value


InstanceId = Annotated[str, AfterValidator(_instance_id)]
TopicName = Annotated[str, AfterValidator(_topic_name)]


class TopicSettings(Group):
    """Names of the topics, and how `nextclick topics create` makes them."""

    clicks: TopicName = "clicks"
    """Where click events come from; the key is the session id."""

    recommendations: TopicName = "recommendations"
    """Where lists go; the key is the session id."""

    dead_letters: TopicName = "dead-letters"
    """Where events go that cannot be used, as received, with the reason in headers."""

    catalogue: TopicName = "catalogue"
    """Control topic: items."""

    rules: TopicName = "rules"
    """Control topic: the operator's rules."""

    bundles: TopicName = "bundles"
    """Control topic: which bundles serve."""

    erasures: TopicName = "erasures"
    """Control topic: what to forget."""

    partitions: int = Field(4, ge=1, le=10_000)
    """Partitions of `clicks`, `recommendations` and `dead_letters`; at most so many workers share the load."""

    replication_factor: int = Field(1, ge=1, le=100)
    """Copies of every partition, at most as many as there are brokers; 3 in production."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: dict[str, str] = {}
        for field, name in self:
            if isinstance(name, str) and seen.setdefault(name, field) != field:
                raise ValueError(f"topics.{seen[name]} and topics.{field} are both {name!r}; each needs its own topic")
        return self


class WorkerSettings(Group):
    """One worker process."""

    app_id: TopicName = "nextclick"
    """The consumer group that all workers of one service share, and the prefix of its changelog topic."""

    bundle: UserPath | None = None
    """Directory of the bundle to serve from. `nextclick worker` needs it."""

    # With its states and lists it stays in a megabyte of cache: 512 cost no less (`bench-framework`).
    batch_max_events: int = Field(256, ge=1, le=100_000)
    """Events in one micro-batch at most; fewer when no more are waiting."""

    commit_interval_s: float = Field(0.5, gt=0, le=60)
    """How often finished offsets are committed. Seconds."""

    session_timeout_s: float = Field(10.0, gt=0, le=3600)
    """Without a heartbeat for so long, Kafka gives a worker's partitions to another one. The brokers must allow it:
    6 s to 30 minutes by their defaults. Who raises it later must raise the changelog's `min.compaction.lag.ms` too.
    Seconds."""

    heartbeat_interval_s: float = Field(3.0, gt=0, le=3600)
    """How often a worker tells Kafka that it lives; less than half of `session_timeout_s`. Seconds."""

    shutdown_timeout_s: float = Field(10.0, gt=0, le=3600)
    """After SIGTERM, what is in hand is finished and committed; a worker that needs longer than this ends at once with
    exit code 1, and what was not committed is read again. Seconds."""

    broker_wait_s: float = Field(30.0, ge=0, le=3600)
    """A worker that starts waits so long for Kafka to answer, then ends with an error. Seconds."""

    expiry_grace_s: float = Field(300.0, ge=0, le=604_800)
    """A session leaves the memory so long after its gap, in event time; later events find it gone. Seconds."""

    group_instance_id: InstanceId | None = None
    """Static membership: a name that a worker keeps over restarts (a pod's name in a StatefulSet), different for each
    worker. It then gets its partitions back without a rebalance when it returns within `session_timeout_s`."""

    stall_timeout_s: float = Field(60.0, ge=0, le=86_400)
    """The watchdog: a worker that has clicks waiting, a broker that answers, and has finished none of them for so long
    ends with an error, so that it is started anew; so does one whose event loop has not turned for so long. It also
    sees that `clicks` is still the same topic. 0 turns all of this off. Seconds."""

    max_attempts: int = Field(3, ge=1, le=100)
    """A click that, alone, has ended so many processes becomes a dead letter instead of ending the next one."""

    store: Literal["memory", "rocksdb"] = "memory"
    """Where sessions live. `memory`: the changelog is read whole at each start. `rocksdb`: on disk under `state_dir`;
    more sessions than fit into memory, and a start reads only what is newer than the disk."""

    state_dir: UserPath | None = None
    """Directory for `store = "rocksdb"`, one for each worker, on a local disk."""

    @model_validator(mode="after")
    def _heartbeats_fit_the_timeout(self) -> Self:
        if self.heartbeat_interval_s * 2 >= self.session_timeout_s:
            raise ValueError(
                f"worker.heartbeat_interval_s = {self.heartbeat_interval_s} is not less than half of"
                f" worker.session_timeout_s = {self.session_timeout_s}; a third of it is usual"
            )
        return self

    @model_validator(mode="after")
    def _store_has_its_directory(self) -> Self:
        if (self.store == "rocksdb") != (self.state_dir is not None):
            raise ValueError(
                f"worker.store = {self.store!r} and worker.state_dir = {self.state_dir} do not go together; sessions on"
                ' disk need store = "rocksdb" and a state_dir of their own, sessions in memory have none'
            )
        return self


class OverloadSettings(Group):
    """What a worker leaves out when clicks come faster than it can serve them; all of it is counted."""

    emit: Literal["every", "latest"] = "every"
    """`every`: each click gets its list. `latest`: of the clicks of one session that wait together only the newest gets
    a list, which names the others as superseded."""

    latest_above_lag: int | None = Field(None, ge=1)
    """`emit = "latest"` while a worker has more clicks waiting than this; unset, never."""

    shed_above_lag: int | None = Field(None, ge=1)
    """While more clicks wait than this, lists hold what is popular, made without the index. Unset, never."""

    max_age_s: float | None = Field(None, gt=0, le=31_536_000)
    """A click that the broker got longer ago than this joins its session but gets no list; after an outage nobody
    waits for it. Unset, every click gets its list. Seconds."""


class MonitoringSettings(Group):
    """Where a worker answers `/metrics`, `/live` and `/ready`."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on; `0.0.0.0` lets other machines in."""

    port: int = Field(9464, ge=0, le=65535)
    """Port to listen on; 0 takes any free one and prints it."""


class Settings(BaseSettings):
    """All settings of a process. `Settings()` is the defaults; `load_settings` reads file and environment."""

    model_config = SettingsConfigDict(
        env_prefix="NEXTCLICK_",
        env_nested_delimiter="__",
        # An empty variable is an unset one: compose files and shells have no other way to say "not this one".
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    overload: OverloadSettings = OverloadSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    serving: ServingSettings = ServingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: `load_settings` does, and tells where each value came from."""
        return (init_settings,)
