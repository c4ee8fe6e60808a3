import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from confluent_kafka import KafkaError, KafkaException

from stream.errors import StallError
from stream.health import Health
from stream.watchdog import LOOKS, Guard, Place, Stall
from stream.worker import _or_fail
from tests.stream.simulation import broker as simulated
from tests.stream.simulation.broker import Stored
from tests.stream.simulation.world import Worker, World

NewWorld = Callable[..., World]
Look = tuple[Mapping[int, Place] | None, Mapping[int, int] | None]

TIMEOUT_S = 60.0
EVERY_S = TIMEOUT_S / LOOKS


def looks(stall: Stall, found: list[Look]) -> list[list[int]]:
    """What is found stalled by looks that are ten seconds apart."""
    return [stall.look(100 + number * EVERY_S, *look) for number, look in enumerate(found)]


def at(position: int | None, read: int, committed: int) -> Place:
    return Place(position, read, committed)


@pytest.mark.parametrize(
    ("place", "end", "stalled"),
    [
        pytest.param(at(5, 5, 5), 9, True, id="nothing is fetched"),
        pytest.param(at(9, 9, 5), 9, True, id="what is in hand is never finished"),
        pytest.param(at(9, 9, 0), 9, True, id="nor what is in hand first of all"),
        pytest.param(at(None, 5, 5), 9, True, id="the coordinator never says where to begin"),
        pytest.param(at(9, 9, 9), 9, False, id="idle"),
        pytest.param(at(0, 0, 0), 0, False, id="idle, and empty"),
        pytest.param(at(9, 8, 8), 9, False, id="a transaction's marker stands last"),
        pytest.param(at(1_000, 0, 0), 1_000, False, id="a new group, and retention has emptied the log"),
        pytest.param(at(1_000, 5, 5), 1_000, False, id="retention has removed what was committed, and all else"),
        pytest.param(at(None, 0, 0), 0, False, id="not known yet where to begin, in an empty log"),
    ],
)
def test_a_worker_stalls_where_clicks_wait_and_nothing_moves(place: Place, end: int, stalled: bool) -> None:
    found = looks(Stall(TIMEOUT_S), [({0: place}, {0: end})] * 10)
    # The first look has nothing to compare with; from the second on, it is so for 60 s.
    assert found == [[]] * (LOOKS + 1) + [[0] if stalled else []] * 3


def test_a_partition_that_stands_still_is_seen_beside_one_that_moves() -> None:
    stall = Stall(TIMEOUT_S)
    found = looks(stall, [({0: at(5, 5, 5), 1: at(n, n, n)}, {0: 9, 1: 1_000}) for n in range(8)])
    assert found == [[]] * 7 + [[0]]


@pytest.mark.parametrize(
    "places",
    [
        pytest.param([at(30, 30, n) for n in range(20)], id="a backlog of one batch, each click alone"),
        pytest.param([at(n, 5, 5) for n in range(20)], id="nothing but markers comes"),
        pytest.param([at(n % 2, 0, 0) for n in range(20)], id="forward and back, as after a rebalance"),
    ],
)
def test_a_partition_that_moves_has_not_stalled(places: list[Place]) -> None:
    assert not any(looks(Stall(TIMEOUT_S), [({0: place}, {0: 1_000}) for place in places]))


STUCK: Look = {0: at(5, 5, 5)}, {0: 9}
RECOVERING: Look = None, {0: 9}
BROKER_AWAY: Look = {0: at(5, 5, 5)}, None
GONE: Look = {}, {0: 9}


@pytest.mark.parametrize("meanwhile", [RECOVERING, BROKER_AWAY, GONE], ids=["recovering", "broker away", "gone"])
def test_the_time_begins_anew_with_what_is_no_fault_of_the_worker(meanwhile: Look) -> None:
    stall = Stall(TIMEOUT_S)
    assert not any(looks(stall, [meanwhile] * 20))
    found = looks(stall, [STUCK] * LOOKS + [meanwhile] + [STUCK] * (LOOKS + 2))
    assert not any(found[: 2 * LOOKS + 1])
    assert found[-1] == [0]


# --- whole workers


class Answers:
    """Takes the place of the watchdog's own connection."""

    topic = "clicks"

    def __init__(self, world: World) -> None:
        self._world = world

    async def check_topic(self) -> None: ...

    async def ends(self) -> dict[int, int]:
        if not self._world.broker.up:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return {n: self._world.broker.logs["clicks", n].end for n in range(self._world.partitions)}


def watched(world: World) -> Worker:
    """Start a worker with its watchdog, and wait until it serves."""
    worker = world.start()
    world.until(lambda: worker.application is not None)
    answers: Any = Answers(world)
    worker.process.run(_or_fail(worker._worker._watch(worker.application, answers), worker.application))
    world.until(lambda: worker.ready)
    return worker


MARKER = b"\0\0\0\1"
"""The key of a control record that ends a transaction."""


@pytest.fixture
def markers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulated broker write records of that key as Kafka does: in control batches."""
    as_batch = simulated.as_batch

    def with_markers(records: list[Stored]) -> bytes:
        batches = [bytearray(as_batch([record])) for record in records]
        for record, batch in zip(records, batches, strict=True):
            if record.key == MARKER:
                batch[21:23] = (0x30).to_bytes(2)  # attributes: transactional, control
                batch[17:21] = calc_crc32c(batch[21:]).to_bytes(4)
        return b"".join(batches)

    monkeypatch.setattr(simulated, "as_batch", with_markers)


def test_transactions_of_a_producer_end_no_idle_worker(new_world: NewWorld, markers: None) -> None:
    world = new_world()
    worker = watched(world)
    world.clicks(20)
    world.until(lambda: world.finished)
    for partition in range(world.partitions):
        world.broker.append("clicks", partition, [(MARKER, b"\0\0\0\0\0\0", ())])
    world.pass_(200)
    assert not worker.ended
    assert sum(world.committed.values()) == 20


@pytest.mark.parametrize("committed", [None, 400])
def test_a_log_that_retention_has_emptied_ends_no_worker(new_world: NewWorld, committed: int | None) -> None:
    world = new_world()
    for partition in range(world.partitions):
        log = world.broker.logs["clicks", partition]
        log.start = log.end = 1_000
        if committed is not None:
            world.broker.group.committed["clicks", partition] = committed
    worker = watched(world)
    world.pass_(200)
    assert not worker.ended
    world.clicks(20)
    world.until(lambda: len(world.lists) == 20)


def test_a_worker_whose_broker_is_away_is_not_ended(new_world: NewWorld) -> None:
    world = new_world()
    worker = watched(world)
    world.clicks(20)
    world.network.stop_broker()
    world.pass_(100)
    world.network.start_broker()
    world.check()
    assert not worker.ended


def test_a_partition_that_is_never_read_ends_the_worker_while_another_is_served(new_world: NewWorld) -> None:
    world = new_world()
    worker = watched(world)
    consumer = worker.application.faust.consumer._thread._consumer
    worker.process.tell(consumer.pause, TopicPartition("clicks", 0))
    world.clicks(300, spread_s=150)
    world.until(lambda: worker.ended, 150)
    assert isinstance(worker.error, StallError)
    assert "partition 0 ends at offset " in str(worker.error)
    assert "partition 1" not in str(worker.error)
    assert world.committed[1] > 0
    world.start()
    world.check(200)


# --- the loop itself


@pytest.fixture
def loop() -> Health:
    return Health([])


def guard(loop: Health, timeout_s: float = 60.0, stop_timeout_s: float = 10.0) -> Guard:
    return Guard(lambda: loop.beats, lambda reason: None, timeout_s, stop_timeout_s)


def silence_s(guard: Guard) -> float:
    """How long a loop that never turns again is let be."""
    count = next(count for count in range(1, 10_000) if guard.look())
    return count * guard.interval_s


def test_a_loop_that_turns_is_let_be(loop: Health) -> None:
    made = guard(loop)
    for _ in range(1_000):
        loop.beat()
        assert made.look() is None


def test_a_loop_that_does_not_turn_ends_the_process(loop: Health) -> None:
    made = guard(loop)
    assert silence_s(made) == pytest.approx(60)
    loop.beat()
    assert made.look() is None
    assert silence_s(made) == pytest.approx(60)


@pytest.mark.parametrize(("stop_timeout_s", "left_s"), [(10.0, 10), (600.0, 60)])
def test_a_loop_that_is_asked_to_stop_has_so_long_to_turn(loop: Health, stop_timeout_s: float, left_s: float) -> None:
    made = guard(loop, stop_timeout_s=stop_timeout_s)
    for _ in range(LOOKS - 1):
        made.look()
    made.ask_to_stop()
    assert silence_s(made) == pytest.approx(left_s)


def test_a_guard_leaves_no_thread(loop: Health) -> None:
    before = threading.active_count()
    with guard(loop):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


HANG = """
import sys
from stream.settings import Settings
from stream.worker import _Worker, run_worker

async def hang(self, call):
    print("hangs", flush=True)
    while True:
        pass

_Worker._unless_stopped = hang
worker = {"bundle": "none", "stall_timeout_s": float(sys.argv[1]), "shutdown_timeout_s": float(sys.argv[2])}
run_worker(Settings.model_validate({"worker": worker, "monitoring": {"port": 0}}))
"""


@pytest.fixture
def hanging() -> Iterator[Callable[[float, float], "subprocess.Popen[str]"]]:
    """Start a worker that hangs, with its two timeouts, and wait until it does."""
    begun: list[subprocess.Popen[str]] = []

    def start(stall_timeout_s: float, shutdown_timeout_s: float) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HANG, str(stall_timeout_s), str(shutdown_timeout_s)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_a_worker_whose_loop_hangs_ends_and_says_where(hanging: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = hanging(1.0, 100.0)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the event loop has not turned for 1 s" in said
    assert " in hang" in said


def test_a_worker_whose_loop_hangs_ends_when_it_is_asked_to(hanging: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = hanging(3_600.0, 1.0)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the event loop has not turned" in said
