"""The service of one round: its topics, its workers, the generator that feeds it and the watch that looks on."""

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka.admin import ConfigResource, ConfigResourceType

from deploy.local.kafka import KafkaBroker
from deploy.local.process import BackgroundProcess, Guard
from serving.bundle import load_bundle
from serving.recommender import Recommender
from stream.clients import admin_client
from stream.contract.specs import changelog_name
from stream.contract.topics import create_topics, delete_topics
from stream.settings import Settings
from tests.end_to_end.chaos.clickstream import (
    EXPIRY_GRACE_S,
    FIRST_PHASE,
    SECOND_PHASE,
    SESSION_GAP_S,
    SESSION_LENGTH,
)
from tests.end_to_end.chaos.patience import wait_until
from tests.end_to_end.chaos.plan import Plan
from tests.end_to_end.chaos.topics import Record, read_topic
from tests.end_to_end.chaos.watch import Watch
from tests.end_to_end.chaos.workers import Launch, Pool

PARTITIONS = 4
CLICKS_PER_S = 650.0
# A plain Faust program takes event after event; it is judged by what it loses, not by what it cannot keep up with.
STOCK_CLICKS_PER_S = 250.0
SESSION_TIMEOUT_S = 3.0
START_S = 90.0
# Clicks of so many seconds are hardly any.
HARDLY_S = 3.0
DRAIN_S = 90.0
DISK_BYTES = 64 * 2**20


class Generator:
    """The process that sends the clicks."""

    def __init__(self, name: str, settings: Settings, plan: Plan, folder: Path, *, rate: float) -> None:
        command = [sys.executable, "-m", f"{__package__}.generator", "--servers", settings.kafka.bootstrap_servers]
        command += ["--topic", settings.topics.clicks, "--partitions", str(settings.topics.partitions)]
        command += ["--rate", str(rate), "--seed", str(plan.seed * 1_000_000 + plan.number), "--phase", name]
        self._errors = (folder / f"generator-{name}.log").open("wb")
        # It ends when its input does: nothing is left behind when this process is killed.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def stop(self) -> dict[str, Any]:
        """Let it come to its end, and return its report."""
        output, _ = self._process.communicate(timeout=90)
        self._errors.close()
        report: dict[str, Any] = json.loads(output)
        return report

    def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()
            self._errors.close()


class Deployment:
    """`with Deployment(broker, bundle, plan, folder) as deployment: ...`

    Args:
        broker: a running Apache Kafka.
        bundle: what the workers serve from.
        plan: of the round.
        folder: for logs.
        stock: a plain Faust program in place of the worker.

    """

    def __init__(self, broker: KafkaBroker, bundle: Path, plan: Plan, folder: Path, *, stock: bool) -> None:
        self.broker = broker
        self.bundle = bundle
        self.plan = plan
        self.folder = folder
        self.stock = stock
        self.rate = STOCK_CLICKS_PER_S if stock else CLICKS_PER_S
        self.settings = _settings(broker.bootstrap_servers, plan)
        self.names = {
            "clicks": self.settings.topics.clicks,
            "recommendations": self.settings.topics.recommendations,
            "dead_letters": self.settings.topics.dead_letters,
            "changelog": changelog_name(self.settings),
        }
        self.pool = Pool(self._launch, folder)
        self.watch = Watch(broker.bootstrap_servers, self.settings.worker.app_id, self.names, PARTITIONS)
        self.generator: Generator | None = None
        self.reports: list[dict[str, Any]] = []
        self.earlier_clicks: list[Record] = []
        """Those of a clicks topic that has been deleted."""
        self.disk: Disk | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._delete_topics)
            stack.callback(self._close_generator)
            if self.plan.store == "rocksdb":
                self.disk = stack.enter_context(Disk(DISK_BYTES))
            stack.callback(self.pool.close)
            self._create_topics()
            self.watch.start()
            stack.callback(self.watch.stop)
            self.generator = self._new_generator(FIRST_PHASE)
            self.pool.start(self.plan.workers)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def configure(self, topic: str, name: str, value: str) -> None:
        """Change one setting of a topic."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})
        with admin_client(self.settings.kafka) as client:
            client.alter_configs([resource], incremental=True)

    def wait_until_lists_flow(self, within_s: float) -> None:
        """Wait until every partition has new lists and hardly a click waits.

        Raises:
            TimeoutError: it takes longer; the message says what was seen last.

        """
        began, first = time.monotonic(), None
        while time.monotonic() - began < within_s:
            sample = self.watch.latest(began)
            first = first or sample
            if first is not None and sample is not None and sample.lag < HARDLY_S * self.rate:
                ends = sample.recommendations
                if all(ends[partition] > first.recommendations[partition] for partition in ends):
                    return
            time.sleep(0.05)
        raise TimeoutError(f"no lists in every partition within {within_s:g} s; last sample: {self.watch.latest(0)}")

    def wait_until_ready(self, within_s: float = START_S) -> None:
        """Wait until every worker that should run has said that it is ready."""
        wait_until(lambda: all(slot.is_ready for slot in self.pool.wanted), within_s, "every worker is ready")

    def tell_generator(self, command: str) -> None:
        assert self.generator is not None
        self.generator.tell(command)

    def stop_generator(self) -> None:
        assert self.generator is not None
        self.reports.append(self.generator.stop())

    def wait_until_drained(self, within_s: float = DRAIN_S) -> None:
        """Wait until every click is committed."""
        began = time.monotonic()

        def drained() -> bool:
            sample = self.watch.latest(began)
            return sample is not None and sample.lag == 0

        wait_until(drained, within_s, lambda: f"every click is committed; last sample: {self.watch.latest(0)}")

    def make_clicks_again(self) -> None:
        """Delete the clicks topic with clicks in flight and create it anew; another generator feeds it at once.

        The last clicks of the old one are not known here: they went with it.
        """
        self.earlier_clicks += self.read("clicks")
        self._close_generator()
        self._delete(self.names["clicks"])
        self._create_topics()
        self.generator = self._new_generator(SECOND_PHASE)

    def make_changelog_again(self) -> None:
        """Do what the workers say has to be done when the clicks are another topic."""
        self._delete(self.names["changelog"])
        self._create_topics()

    def read(self, name: str) -> list[Record]:
        return read_topic(self.broker.bootstrap_servers, self.names[name], PARTITIONS)

    def recommender(self) -> Recommender:
        return Recommender(load_bundle(self.bundle), self.settings.serving)

    def _create_topics(self) -> None:
        create_topics(self.settings)
        # The silence is measured by the broker's clock, which is one, not by those of the workers.
        self.configure(self.names["recommendations"], "message.timestamp.type", "LogAppendTime")
        with admin_client(self.settings.kafka) as client:
            (clicks,) = client.describe_topics([self.names["clicks"]])
        self.watch.begin_anew(str(clicks["topic_id"]))

    def _delete(self, topic: str) -> None:
        with admin_client(self.settings.kafka) as client:
            client.delete_topics([topic])
            wait_until(lambda: topic not in client.list_topics(), 30, f"{topic} is gone")

    def _delete_topics(self) -> None:
        with contextlib.suppress(Exception):  # the broker is for these rounds alone; this only keeps it small
            delete_topics(self.settings)

    def _close_generator(self) -> None:
        if self.generator is not None:
            self.generator.close()

    def _new_generator(self, phase: str) -> Generator:
        return Generator(phase, self.settings, self.plan, self.folder, rate=self.rate)

    def _launch(self, name: str) -> Launch:
        env = {
            f"NEXTCLICK_{group.upper()}__{field.upper()}": str(value)
            for group, fields in self.settings.model_dump(mode="json", exclude_unset=True).items()
            for field, value in fields.items()
        }
        if self.plan.static:
            env["NEXTCLICK_WORKER__GROUP_INSTANCE_ID"] = name
        python = [sys.executable, "-m"]
        program = [str(Path(sys.executable).parent / "nextclick"), "worker"]
        if self.stock:
            program = [*python, f"{__package__}.stock_worker"]
        elif "deadly" in self.plan.faults:
            program = [*python, f"{__package__}.deadly_worker", "worker"]
        if self.disk is not None:
            env |= {"NEXTCLICK_WORKER__STORE": "rocksdb", "NEXTCLICK_WORKER__STATE_DIR": f"{self.disk.path}/{name}"}
            program = [*self.disk.enter, *program]
        return Launch([*program, "--bundle", str(self.bundle), "--metrics-port", "0"], env)


class Disk:
    """A small disk for the session stores, in a mount namespace of its own, which goes with its process.

    `enter` begins the command line of a program that sees the disk under `path`.
    """

    def __init__(self, size: int) -> None:
        self._guard = Guard("disk")
        self.path = self._guard.folder / "mounted"
        self.path.mkdir()
        mount = f"mount -t tmpfs -o size={size} tmpfs {self.path} && echo mounted && exec sleep 86400"
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]
        log = self._guard.folder / "disk.log"
        self._holder = BackgroundProcess("disk", command, log=log, guard=self._guard)
        self._holder.wait_until(lambda: b"mounted" in log.read_bytes(), 10)
        user_and_mounts = ["--user", "--mount", "--preserve-credentials", f"--wd={os.getcwd()}"]
        self.enter = ["nsenter", "--target", str(self._holder.pid), *user_and_mounts]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._guard.close()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte on it within this block."""
        filler = Path(f"/proc/{self._holder.pid}/root{self.path}/filler")
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            filler.unlink()


def _settings(servers: str, plan: Plan) -> Settings:
    mark = uuid.uuid4().hex[:8]
    topics = ("clicks", "recommendations", "dead_letters", "catalogue", "rules", "bundles", "erasures")
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": servers},
            "topics": {name: f"{name}-{mark}" for name in topics} | {"partitions": PARTITIONS},
            "worker": {
                "app_id": f"chaos-{mark}",
                "batch_max_events": plan.batch_max_events,
                "session_timeout_s": SESSION_TIMEOUT_S,
                "heartbeat_interval_s": 1.0,
                "expiry_grace_s": EXPIRY_GRACE_S,
            },
            "serving": {"session_gap_s": SESSION_GAP_S, "session_length": SESSION_LENGTH},
        }
    )
