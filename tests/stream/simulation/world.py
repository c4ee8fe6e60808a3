"""Workers on a simulated broker, clicks for them, and what must hold whatever happened to them."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn

import aiokafka.client
import confluent_kafka
import msgspec
import pytest

import stream.pipeline.pipeline
import stream.transport.consumer
import stream.worker
from serving.control import Control
from serving.errors import NextclickError
from serving.events import Click, decode_click, encode_click
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState, decode_state
from stream.app import Application, create_app
from stream.contract.dead_letter import read_cause
from stream.contract.specs import changelog_name
from stream.health import Health
from stream.metrics import Metrics
from stream.settings import Settings
from stream.state.table import APPLIED_OFFSET_HEADER, RESERVED, Source
from stream.transport.membership import Membership
from stream.transport.offsets import committed_offset
from stream.worker import PARTS, _Worker
from tests.stream.simulation.broker import Broker
from tests.stream.simulation.clock import Clock, Process, Thread
from tests.stream.simulation.wire import TRAVEL_S, Network, partition_of

COMPUTE_S = 0.003


class Killed(BaseException):
    """Where a process has ended, nothing is left to catch."""


class Deadly(Recommender):
    """A recommender that ends the process when it comes to a certain item."""

    kill: Callable[[], None]
    row: int

    def recommend(self, moments: Any, *others: Any) -> Any:
        if any(moment.row == self.row for moment in moments):
            self.kill()
            raise Killed
        return super().recommend(moments, *others)


class Worker:
    """A worker process in the simulation."""

    def __init__(self, world: "World", process: Process, settings: Settings) -> None:
        self.process = process
        self.thread = Thread(world.clock, process, COMPUTE_S)
        self.application: Application = None  # type: ignore[assignment]
        self.error: NextclickError | None = None
        self.ended = False
        self.left_behind: set[str] = set()
        """The tasks that were there when it had ended."""
        self.metrics = Metrics()
        self._world = world
        self._worker = _Worker(settings, self.metrics, Health(PARTS), None, self.thread)  # type: ignore[arg-type]
        self._settings = settings
        process.run(self._serve())

    def _recommender(self) -> Recommender:
        known = self._world.recommender
        if self._world.deadly_item is None:
            return known
        deadly = Deadly(known.bundle, known.settings)
        deadly.kill, deadly.row = self.kill, self._world.deadly_item
        return deadly

    async def _serve(self) -> None:
        self.application = create_app(
            self._settings,
            self._recommender(),
            source=Source("clicks", self._world.partitions, "topic-1"),
            executor=self.thread,
            metrics=self.metrics,
        )
        controls: Any = SimpleNamespace(read=asyncio.Event())
        controls.read.set()
        try:
            await self._worker._serve(self.application, controls)
        except NextclickError as error:
            self.error = error
        others: Any = asyncio.all_tasks() - {asyncio.current_task()}
        self.left_behind = {task.get_coro().__qualname__ for task in others}
        self.ended = True
        self.process.kill()

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.application is not None and not self.ended and self.application.recovered

    @property
    def recovering(self) -> bool:
        """Whether it reads its sessions."""
        return self.application is not None and bool(self.application.faust.in_recovery)

    @property
    def owned(self) -> set[int]:
        """The partitions of the clicks that it has."""
        assignment = self.application.faust.consumer.assignment()
        return {tp.partition for tp in assignment if tp.topic == "clicks"}

    @property
    def membership(self) -> Membership:
        """What it knows about its place in the group."""
        return self.application.faust.consumer._thread.membership  # type: ignore[no-any-return]

    @property
    def producers(self) -> list[Any]:
        """Its librdkafka clients, none before it has them."""
        producer = self.application and self.application.faust._producer
        clients = (producer._prompt, producer._bulk) if producer else ()
        return [client for client in clients if client is not None]

    def queued(self, topic: str) -> int:
        """Return how many records for a topic it has not sent."""
        return sum(producer.queued(topic) for producer in self.producers)

    @property
    def committed(self) -> dict[int, int]:
        """By partition, the offset that it takes for committed."""
        return {partition: committed_offset(self.application.faust, "clicks", partition) for partition in self.owned}

    @property
    def sessions(self) -> int:
        """How many sessions it has."""
        return sum(len(shard) for shard in self.application.table.shards.values())

    @property
    def recovered_records(self) -> float:
        """How many records of the changelog it has read."""
        return self.metrics.registry.get_sample_value("nextclick_stream_recovered_records_total") or 0.0

    @property
    def replayed(self) -> float:
        """How many clicks it has read that had their lists already."""
        labels = {"outcome": "replayed"}
        return self.metrics.registry.get_sample_value("nextclick_stream_events_total", labels) or 0.0

    def fill_up(self, full: bool = True) -> None:
        """Let librdkafka take no more, or take it again."""
        for producer in self.producers:
            producer.full = full

    def stop(self) -> None:
        """Send SIGTERM."""
        self.process.tell(self._worker._on_signal, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.ended = True
        self.process.kill()

    def bury(self) -> None:
        """Clear up after it, so that nobody complains of what it left open."""
        consumer: Any = self.application and self.application.faust._consumer
        if consumer is not None and (connected := consumer._thread._consumer) is not None:
            connected._closed = True
        self.process.frozen = False
        self.process.bury()

    def exit_after(self, seconds: float) -> None:
        """End like `os._exit` when that time has passed."""
        self._world.clock.after(seconds, lambda: self.process.when_it_runs(self.kill))


class World:
    """Everything in a simulation.

    Args:
        recommender: makes the lists.
        partitions: of the clicks.
        inline: whether batches are computed in the loop.
        fetch_s: how long a fetch waits for records.
        settings: of each worker; groups with their fields.

    """

    def __init__(
        self,
        recommender: Recommender,
        partitions: int = 2,
        *,
        inline: bool = False,
        fetch_s: float = 1.0,
        **settings: Any,
    ) -> None:
        self._inline = inline
        self._fetch_s = fetch_s
        self.recommender = recommender
        self.partitions = partitions
        groups: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": "leader:9092", "fetch_max_wait_ms": 500},
            "worker": {"session_timeout_s": 6.0, "heartbeat_interval_s": 1.0, "commit_interval_s": 0.2},
        }
        self._groups = {name: groups.get(name, {}) | settings.get(name, {}) for name in groups | settings}
        self.settings = Settings.model_validate(self._groups)
        self.changelog = changelog_name(self.settings)
        self.clock = Clock()
        names = {"clicks": partitions, "recommendations": partitions, "dead-letters": 1, self.changelog: partitions}
        self.broker = Broker(self.clock, names)
        self.network = Network(self.broker)
        self.deadly_item: int | None = None
        """The item whose click ends every process that computes it."""
        self.workers: list[Worker] = []
        self._all_workers: list[Worker] = []
        self.broker.group.on_commit = self._check_commit
        silence_ms = (self.settings.serving.session_gap_s + self.settings.worker.expiry_grace_s) * 1000
        self._expected = _Expected(recommender, silence_ms)
        self._checked: dict[int, int] = defaultdict(int)
        self._clicks = 0
        self._coming = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._dead: dict[tuple[int, int], bytes | None] = {}

    # --- what happens

    def start(self, **settings: Any) -> Worker:
        """Start a worker; settings are those of the worker."""
        groups = self._groups | {"worker": self._groups["worker"] | settings}
        process = self.clock.process(f"worker-{len(self._all_workers)}")
        worker = Worker(self, process, Settings.model_validate(groups))
        self.workers.append(worker)
        self._all_workers.append(worker)
        return worker

    def started(self, **settings: Any) -> Worker:
        """Start a worker and wait until it serves."""
        started = self.start(**settings)
        self.until(lambda: started.ready)
        return started

    def click(self, session: str, item: int) -> None:
        """Let a visitor click."""
        self._clicks += 1
        click = Click(f"e{self._clicks}", session, f"i{item}", self.broker.now_ms)
        self._places[click.event_id] = self.send(session, encode_click(click))

    def clicks(self, count: int, sessions: int = 5, spread_s: float = 0.0) -> None:
        """Let visitors click, one after the other, within so many seconds; nobody clicks on item 50."""
        numbers = range(self._clicks, self._clicks + count)
        self.clicks_of([(f"s{number * 7 % sessions}", 1 + number * 13 % 49) for number in numbers], spread_s)

    def clicks_of(self, clicks: Sequence[tuple[str, int]], spread_s: float = 0.0) -> None:
        """Let these visitors click on these items, one after the other, within so many seconds."""
        self._coming += len(clicks)
        for place, click in enumerate(clicks):
            if spread_s:
                self.clock.after(spread_s * place / len(clicks), partial(self._come, *click))
            else:
                self._come(*click)

    def _come(self, session: str, item: int) -> None:
        self._coming -= 1
        self.click(session, item)

    def send(self, session: str, value: bytes) -> tuple[int, int]:
        """Write to the clicks."""
        key = session.encode()
        partition = partition_of(key, self.partitions)
        (offset,) = self.broker.append("clicks", partition, [(key, value, ())])
        if _is_click(value) and decode_click(value).item_id != f"i{self.deadly_item}":
            self._expected.add(partition, self._log("clicks", partition).records[-1])
        else:
            self._dead[partition, offset] = value
        return partition, offset

    def until(self, effect: Callable[[], Any], seconds: float = 60.0) -> None:
        """Let time pass until there is an effect; see `Clock.until`."""
        self.clock.until(effect, seconds)

    def pass_(self, seconds: float) -> None:
        """Let so much time pass."""
        self.clock.pass_(seconds)

    @property
    def committed(self) -> dict[int, int]:
        """By partition, the offset that Kafka has."""
        return {n: self.broker.group.committed.get(("clicks", n), 0) for n in range(self.partitions)}

    @property
    def finished(self) -> bool:
        """Whether all clicks have come and are committed."""
        return not self._coming and all(
            self._log("clicks", partition).end == offset for partition, offset in self.committed.items()
        )

    @property
    def alive(self) -> list[Worker]:
        """The workers that have not ended; they may be frozen."""
        return [worker for worker in self.workers if not worker.ended]

    def compute_for(self, seconds: float) -> None:
        """Let each batch take so long."""
        for worker in self.alive:
            worker.thread.seconds = seconds

    def make_well(self) -> None:
        """End whatever is wrong, but for what will end a worker."""
        self.compute_for(COMPUTE_S)
        for worker in self.alive:
            worker.process.thaw()
            worker.fill_up(False)
        self.network.report_s = TRAVEL_S
        self.network.start_broker()
        self.broker.refusals.clear()
        self.broker.group.refuse_commits = 0

    def restart_what_ended(self) -> None:
        """Do what runs the workers: start as many as have ended."""
        for worker in [worker for worker in self.workers if worker.ended]:
            self.workers.remove(worker)
            self.start()

    # --- what must hold

    def check(self, seconds: float = 60.0) -> None:
        """Wait until all clicks are finished, then see that each has had its effect exactly once, and its answer.

        Raises:
            AssertionError: one has not, or they are not finished in time.

        """
        self.until(lambda: self.finished, seconds)
        assert self.dead_letters == self._dead, "a dead letter is missing, or died of nothing"
        for partition in range(self.partitions):
            expected = self._expected.of(partition)
            lists = {offset: value for (number, offset), value in self.lists.items() if number == partition}
            assert lists == expected.lists, "a list is missing, or was made of nothing"
            states = {key: state for (number, key), state in self.states.items() if number == partition}
            for key, state in expected.states.items():
                assert states.get(key, None if expected.is_over(state) else "none") in (state, None), (
                    f"a click of {key!r} was lost, or counts twice"
                )
            assert states.keys() <= expected.states.keys()

    @property
    def dead_letters(self) -> dict[tuple[int, int], bytes | None]:
        """The dead letters, by where their records were."""
        found = {}
        for record in self._records("dead-letters"):
            cause = read_cause(record.headers)
            assert cause is not None
            found[cause.partition, cause.offset] = record.value
        return found

    @property
    def lists(self) -> dict[tuple[int, int], bytes]:
        """The lists that were published, by the click that they answer; all copies of one are the same."""
        found: dict[tuple[int, int], bytes] = {}
        for record in self._records("recommendations"):
            place = self._places[msgspec.json.decode(record.value)["trigger_event_id"]]
            assert found.setdefault(place, record.value) == record.value, f"two lists for the click at {place}"
        return found

    @property
    def copies(self) -> int:
        """How many lists were published more than once, each counted as often as it need not have been."""
        return len(list(self._records("recommendations"))) - len(self.lists)

    @property
    def states(self) -> dict[tuple[int, bytes], SessionState]:
        """The sessions as the changelog has them: of each the state with the highest applied offset."""
        found: dict[tuple[int, bytes], SessionState] = {}
        for partition in range(self.partitions):
            graves: dict[bytes, int] = {}
            for record in self._log(self.changelog, partition).records:
                key = record.key or b""
                if key.startswith(RESERVED):
                    continue
                if record.value is None:
                    applied = int(dict(record.headers)[APPLIED_OFFSET_HEADER] or b"")
                    graves[key] = max(applied, graves.get(key, -1))
                    continue
                state = _without_cache(decode_state(record.value))
                known = found.get((partition, key))
                if known is None or state.applied_offset >= known.applied_offset:
                    found[partition, key] = state
            for key, applied in graves.items():
                if (partition, key) in found and found[partition, key].applied_offset <= applied:
                    del found[partition, key]
        return found

    @property
    def overwritten(self) -> bool:
        """Whether the changelog's last record of some session is not its newest state."""
        last = {
            (partition, record.key): record.value
            for partition in range(self.partitions)
            for record in self._log(self.changelog, partition).records
        }
        return any(
            last[place] is None or _without_cache(decode_state(last[place])) != state
            for place, state in self.states.items()
        )

    def _check_commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """See that what is committed has its list and its effect in Kafka."""
        lists, states = self.lists, self.states
        for (topic, partition), offset in offsets.items():
            assert topic == "clicks"
            expected = self._expected.of(partition)
            for at in range(max(self._checked[partition], self._log("clicks", partition).start), offset):
                assert at not in expected.lists or (partition, at) in lists, f"committed {at} without its list"
                key = expected.keys.get(at)
                state = key and states.get((partition, key))
                assert key is None or (state and state.applied_offset >= at), f"committed {at} without its effect"
            self._checked[partition] = max(offset, self._checked[partition])

    def _log(self, topic: str, partition: int) -> Any:
        return self.broker.logs[topic, partition]

    def _records(self, topic: str) -> Iterator[Any]:
        for partition in range(self.broker.topics[topic]):
            yield from self._log(topic, partition).records

    # --- its beginning and its end

    @contextlib.contextmanager
    def running(self, seed: int = 0) -> Iterator["World"]:
        """Put the simulation's clock and network in the place of the real ones."""
        patch = pytest.MonkeyPatch()
        with contextlib.ExitStack() as stack:
            stack.callback(patch.undo)
            stack.callback(self._end)
            real = time.monotonic
            for name, module in list(sys.modules.items()):
                if name.split(".")[0] in {"faust", "mode"} and getattr(module, "monotonic", None) is real:
                    patch.setattr(module, "monotonic", self.clock.monotonic)
            patch.setattr(time, "monotonic", self.clock.monotonic)
            patch.setattr(Membership.__init__, "__defaults__", (self.clock.monotonic,))
            patch.setattr(aiokafka.client, "create_conn", self.network.connect)
            patch.setattr(confluent_kafka, "Producer", self.network.producer)
            patch.setattr(stream.worker, "_exit_after", self._exit_after)
            patch.setattr(stream.worker, "_exit", self._exit)
            patch.setattr(stream.transport.consumer, "FETCH_S", self._fetch_s)
            # So few that a recovery needs many fetches.
            patch.setattr(stream.transport.consumer, "RECOVERY_RECORDS", 10)
            # Whether a batch is computed in the loop or beside it would depend on how fast this machine is.
            patch.setattr(stream.pipeline.pipeline, "INLINE_S", float("inf") if self._inline else 0.0)
            state = random.getstate()
            stack.callback(random.setstate, state)
            random.seed(seed)
            yield self

    @property
    def _running(self) -> Worker:
        return next(worker for worker in self._all_workers if worker.process is self.clock.running)

    def _exit_after(self, seconds: float, reason: str) -> None:
        self._running.exit_after(seconds)

    def _exit(self, reason: str, code: int) -> NoReturn:
        self._running.kill()
        raise Killed

    def _end(self) -> None:
        for worker in self._all_workers:
            self.clock.running = worker.process
            worker.bury()
        self.clock.running = None


class _Outcome:
    """What the log of a partition must lead to: lists by offset, states by key, and the key of each click that counts.

    Found by one process() after the other, each of one click.
    """

    def __init__(self, silence_ms: float) -> None:
        self._silence_ms = silence_ms
        self.records: list[Any] = []
        self.lists: dict[int, bytes] = {}
        self.states: dict[bytes, SessionState] = {}
        self.keys: dict[int, bytes] = {}
        self._sessions: dict[str, SessionState] = {}

    def catch_up(self, recommender: Recommender) -> None:
        for record in self.records:
            click = decode_click(record.value)
            known = self._sessions.get(click.session_id)
            states = {} if known is None else {click.session_id: known}
            made = process(states, [Sourced(click, record.offset, record.timestamp_ms)], recommender, Control())
            self._sessions |= made.states
            for served in made.lists:
                self.lists[record.offset] = served.value
            for session_id, state in made.states.items():
                self.keys[record.offset] = session_id.encode()
                self.states[session_id.encode()] = _without_cache(state)
        self.records.clear()

    def is_over(self, state: SessionState) -> bool:
        """Tell whether a session may have left."""
        watermark_ms = max(state.seen_ms for state in self.states.values())
        return state.seen_ms < watermark_ms - self._silence_ms


class _Expected:
    def __init__(self, recommender: Recommender, silence_ms: float) -> None:
        self._recommender = recommender
        self._outcomes: dict[int, _Outcome] = defaultdict(lambda: _Outcome(silence_ms))

    def add(self, partition: int, record: Any) -> None:
        self._outcomes[partition].records.append(record)

    def of(self, partition: int) -> _Outcome:
        self._outcomes[partition].catch_up(self._recommender)
        return self._outcomes[partition]


def _without_cache(state: SessionState) -> SessionState:
    return msgspec.structs.replace(state, carried=[])


def _is_click(value: bytes | None) -> bool:
    return value is not None and value.startswith(b'{"event_id"')
