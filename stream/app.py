"""The Faust application: its topics, its table and what works on its clicks, all put together here."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import FaustError

from serving.control import Control
from serving.errors import NextclickError
from serving.recommender import Recommender
from stream import transport
from stream.contract.specs import SESSION_TABLE, changelog_name
from stream.errors import BrokerError, as_sentence
from stream.metrics import Metrics
from stream.pipeline.compute import Computer
from stream.pipeline.flight import Airspace
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.state.stores import open_stores
from stream.state.table import SessionTable, Source
from stream.transport.credentials import credentials
from stream.transport.link import Link
from stream.transport.producer import producer_options
from stream.transport.recovery import TableManager
from stream.transport.work import Work


@dataclass
class Failure:
    """The error that ends the process. The first one counts; what follows it is its consequence."""

    error: NextclickError | None = None
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, error: Exception) -> None:
        """End the process with this error, as a sentence. No batch is begun after it."""
        if self.error is None:
            self.error = as_sentence(_broken(error) if isinstance(error, KafkaError | FaustError | OSError) else error)
            self.happened.set()


def _broken(error: Exception) -> BrokerError:
    broken = BrokerError(
        f"the connection to Kafka broke down ({error!r}); the events in hand are read again by the next worker"
    )
    broken.__cause__ = error
    return broken


class App(faust.App):  # type: ignore[misc]
    """A Faust application with what our transport asks of it; the directories that Faust would make it has not."""

    work: Work
    on_failure: Callable[[Exception], None]
    fetch_max_wait_ms: int
    producer_options: Mapping[str, Any]
    topic_id: str | None

    def _create_directories(self) -> None:
        """Make none."""


@dataclass(frozen=True)
class Application:
    """A Faust application and what belongs to it."""

    faust: faust.App
    table: SessionTable
    computer: Computer
    pipeline: Pipeline
    failure: Failure
    bundle_id: str

    @property
    def recovered(self) -> bool:
        """Whether the sessions of its partitions are there, and it serves."""
        return bool(self.faust.tables.actives_ready and not self.faust.rebalancing and not self.faust.should_stop)


def create_app(
    settings: Settings,
    recommender: Recommender,
    *,
    source: Source,
    executor: Executor,
    metrics: Metrics,
    control: Callable[[], Control] = Control,
    check_source: Callable[[], Awaitable[None]] | None = None,
) -> Application:
    """Put a worker's application together; nothing is connected before it is started, but a state directory is taken.

    Args:
        settings: of this process.
        recommender: makes the lists.
        source: what was found out about the clicks topic.
        executor: one thread for encoder and index.
        metrics: gets all figures.
        control: returns what operators have told so far.
        check_source: sees that the clicks topic is still the same, whenever partitions have changed hands.

    Raises:
        WrongUse: `worker.state_dir` cannot be used.
        StateError: what is in it cannot be read or written.

    """
    failure = Failure()

    def fail(error: Exception) -> None:
        failure.set(error)
        assert failure.error is not None
        # At once: Faust would go on with what the error is about before anybody else gets a turn.
        pipeline.abandon(failure.error)

    app = App(settings.worker.app_id, **faust_settings(settings), Table=SessionTable, TableManager=TableManager)
    app.fetch_max_wait_ms = settings.kafka.fetch_max_wait_ms
    app.producer_options = producer_options(settings.kafka)
    app.on_failure = fail
    app.topic_id = source.topic_id
    clicks = app.topic(
        settings.topics.clicks,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        allow_empty=True,
    )
    # Subscribed to and committed, but not carried through an agent's stream: the transport hands batches to the
    # pipeline.
    app.topics.add(clicks)
    silence_ms = round((settings.serving.session_gap_s + settings.worker.expiry_grace_s) * 1000)
    table: SessionTable = app.Table(
        SESSION_TABLE,
        key_type=bytes,
        value_type=bytes,
        partitions=source.partitions,
        source=source,
        check_source=check_source,
        stores=open_stores(settings.worker, changelog_name(settings), source.changelog_id, silence_ms),
        silence_ms=silence_ms,
        metrics=metrics,
        on_failure=fail,
    )
    airspace = Airspace(table.state_of)
    computer = Computer(recommender, airspace.state_of, source.partitions)
    pipeline = Pipeline(
        Link(app, settings.topics.clicks, table.changelog_topic_name),
        table,
        computer,
        airspace,
        settings=settings,
        control=control,
        metrics=metrics,
        executor=executor,
        on_failure=fail,
    )
    app.work = pipeline
    return Application(app, table, computer, pipeline, failure, recommender.bundle.id)


def faust_settings(settings: Settings) -> dict[str, Any]:
    """Return what Faust is told."""
    transport.register()
    kafka, worker = settings.kafka, settings.worker
    return {
        "broker": ";".join(f"{transport.SCHEME}://{server}" for server in kafka.servers),
        "broker_credentials": credentials(kafka),
        # Faust reads its own variables over these arguments; with a prefix that nobody uses it finds none.
        "env_prefix": "NEXTCLICK_FAUST_",
        "autodiscover": False,
        # Health is our own; Faust's pages would show the table to whoever asks.
        "web_enabled": False,
        # Only a name here: the assignor wants it to differ between workers, and to be kept by one that keeps its own.
        "canonical_url": f"http://worker-{worker.group_instance_id or uuid.uuid4().hex}",
        # `nextclick topics create` makes topics, with the right policies; a worker makes none.
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "store": "memory://",
        # A standby of a table in memory is read anew anyway when it takes over.
        "table_standby_replicas": 0,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "processing_guarantee": "at_least_once",
        # A rebalance and a stop wait for the work in hand.
        "stream_wait_empty": True,
        "broker_commit_interval": worker.commit_interval_s,
        # An idle worker would leave the group after this and never come back.
        "broker_max_poll_interval": 86_400.0,
        "broker_session_timeout": worker.session_timeout_s,
        "broker_heartbeat_interval": worker.heartbeat_interval_s,
        "broker_request_timeout": max(60.0, worker.session_timeout_s),
        "broker_rebalance_timeout": max(60.0, worker.session_timeout_s),
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": worker.group_instance_id,
    }
