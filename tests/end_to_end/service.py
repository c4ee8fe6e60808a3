"""A deployment for one test: topics of its own on a real broker, and workers that are real processes."""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from deploy.local.process import BackgroundProcess, Guard
from serving.events import Click, Recommendation, decode_recommendation, encode_click
from stream.contract.topics import create_topics
from stream.settings import Settings
from tests.waiting import wait_for

START_S = 60.0


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Worker:
    """One `nextclick worker` process."""

    def __init__(self, name: str, options: Sequence[str], env: dict[str, str], folder: Path) -> None:
        self._guard = Guard("worker")
        self.log = folder / f"{name}.log"
        command = [str(Path(sys.executable).parent / "nextclick"), "worker", *options]
        self.process = BackgroundProcess(name, command, log=self.log, guard=self._guard, env=os.environ | env)

    def close(self) -> None:
        self.process.kill()
        self._guard.close()

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        """Where its probes are; waits until it is ready."""
        found = re.search(r"^nextclick worker ready: .*metrics=(\S+)/metrics$", self.output, re.MULTILINE)
        return found[1] if found else ""

    def wait_until_ready(self) -> Self:
        self.process.wait_until(lambda: bool(self.url), START_S)
        return self

    def get(self, path: str) -> tuple[int, str]:
        return get(self.url + path)

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics, 0 where there is none."""
        shown = "".join(f'{key}="{value}",' for key, value in sorted(labels.items())).rstrip(",")
        series = f"nextclick_stream_{name}" + (f"{{{shown}}}" if shown else "")
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0


class Service:
    """Topics, workers, and the ends of the pipe.

    `with Service(settings, bundle, folder) as service: ...`
    """

    def __init__(self, settings: Settings, bundle: Path, folder: Path) -> None:
        self.settings = settings
        self.bundle = bundle
        self.folder = folder
        self.workers: list[Worker] = []
        self._stack = ExitStack()
        self.servers = settings.kafka.bootstrap_servers

    def __enter__(self) -> Self:
        return self

    @cached_property
    def admin(self) -> KafkaAdminClient:
        return self._stack.enter_context(closing(KafkaAdminClient(bootstrap_servers=self.servers)))

    @cached_property
    def producer(self) -> KafkaProducer:
        return self._stack.enter_context(closing(KafkaProducer(bootstrap_servers=self.servers, linger_ms=5)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def disconnect(self) -> None:
        """Close the test's own clients before their broker goes away: kafka-python would leave sockets open."""
        self.admin.close()
        self.producer.close()
        del self.admin, self.producer

    def create_topics(self) -> None:
        create_topics(self.settings)

    def delete_topic(self, name: str) -> None:
        self.admin.delete_topics([name])
        wait_for(lambda: name not in self.admin.list_topics())

    def limit_records(self, topic: str, largest_bytes: int) -> None:
        """Make the broker refuse larger ones."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(largest_bytes)})
        self.admin.alter_configs([resource])

    def start_worker(self, metrics_port: str = "0", **overrides: str) -> Worker:
        """Start a worker; `overrides` are variables without their prefix."""
        env = {f"NEXTCLICK_TOPICS__{name.upper()}": str(value) for name, value in self.settings.topics}
        env |= {f"NEXTCLICK_{name}": value for name, value in overrides.items()}
        worker_settings = self.settings.worker
        for name in ("batch_max_events", "session_timeout_s", "heartbeat_interval_s", "commit_interval_s"):
            env.setdefault(f"NEXTCLICK_WORKER__{name.upper()}", str(getattr(worker_settings, name)))
        options = ["--bundle", str(self.bundle), "--bootstrap-servers", self.servers, "--metrics-port", metrics_port]
        options += ["--app-id", worker_settings.app_id]
        worker = Worker(f"{worker_settings.app_id}-worker-{len(self.workers) + 1}", options, env, self.folder)
        self._stack.callback(worker.close)
        self.workers.append(worker)
        return worker

    def send(self, record: Record) -> Any:
        return self.producer.send(self.settings.topics.clicks, record.value, record.key, record.headers)

    def send_clicks(self, clicks: Iterable[Click]) -> None:
        """Send them and wait until the broker has them all."""
        for report in [self.send(plain(click)) for click in clicks]:
            report.get(timeout=30)

    def read(self, topic: str, until: Callable[[list[Any]], bool], timeout_s: float = 60) -> list[Any]:
        """Read the topic from its beginning until `until` is satisfied with what was read."""
        consumer = KafkaConsumer(bootstrap_servers=self.servers, auto_offset_reset="earliest", fetch_max_wait_ms=100)
        records: list[Any] = []
        with closing(consumer):
            consumer.assign([TopicPartition(topic, partition) for partition in range(self.settings.topics.partitions)])

            def enough() -> bool:
                for batch in consumer.poll(timeout_ms=100).values():
                    records.extend(batch)
                return until(records)

            wait_for(enough, timeout_s)
            while more := consumer.poll(timeout_ms=500):  # what comes beyond, and should not
                records.extend(record for batch in more.values() for record in batch)
        return records

    def read_lists(self, answering: Iterable[Click], timeout_s: float = 60) -> list[Recommendation]:
        """Read all lists, once there is at least one for each of these clicks."""
        wanted = {click.event_id for click in answering}

        def all_there(records: list[Any]) -> bool:
            return wanted <= {json.loads(record.value)["trigger_event_id"] for record in records}

        records = self.read(self.settings.topics.recommendations, all_there, timeout_s)
        assert all(json.loads(record.value)["session_id"].encode() == record.key for record in records)
        return [decode_recommendation(record.value) for record in records]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def plain(click: Click) -> Record:
    return Record(click.session_id.encode(), encode_click(click), [])
