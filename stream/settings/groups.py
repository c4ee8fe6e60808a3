"""Every setting with its default. The text under a field is its documentation."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from serving.settings import ServingSettings
from stream.settings.base import Group, UserPath
from stream.settings.kafka import KafkaSettings


def _topic_name(value: str) -> str:
    if re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", value) is None or value in {".", ".."}:
        raise ValueError("Kafka takes 1 to 249 letters, digits, dots, underscores and hyphens")
    return value


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

    batch_max_events: int = Field(256, ge=1, le=100_000)
    """Events in one micro-batch at most; fewer when no more are waiting."""

    commit_interval_s: float = Field(0.5, gt=0, le=60)
    """How often finished offsets are committed. Seconds."""

    session_timeout_s: float = Field(10.0, gt=0, le=3600)
    """Without a heartbeat for so long, Kafka gives a worker's partitions to another one. Seconds."""

    heartbeat_interval_s: float = Field(3.0, gt=0, le=3600)
    """How often a worker tells Kafka that it lives; less than half of `session_timeout_s`. Seconds."""

    shutdown_timeout_s: float = Field(10.0, gt=0, le=3600)
    """After SIGTERM, the batch in hand is finished and committed within so long. Seconds."""

    broker_wait_s: float = Field(30.0, ge=0, le=3600)
    """A worker that starts waits so long for Kafka to answer, then ends with an error. Seconds."""

    expiry_grace_s: float = Field(300.0, ge=0, le=604_800)
    """A session leaves the memory so long after its gap, in event time; later events find it gone. Seconds."""

    @model_validator(mode="after")
    def _heartbeats_fit_the_timeout(self) -> Self:
        if self.heartbeat_interval_s * 2 >= self.session_timeout_s:
            raise ValueError(
                f"worker.heartbeat_interval_s = {self.heartbeat_interval_s} is not less than half of"
                f" worker.session_timeout_s = {self.session_timeout_s}; a third of it is usual"
            )
        return self


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
