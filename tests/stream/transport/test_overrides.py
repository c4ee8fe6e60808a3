"""Each thing that we change in Faust and aiokafka is needed: with the stock code in its place, a scenario fails.

The scenarios themselves, with our code, are tests of `tests/stream/test_failures.py`.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from mode.threads import WorkerThread

import stream.state.table
from stream.transport import Transport
from stream.transport.connection import Connection, _Records
from stream.transport.consumer import Consumer
from stream.transport.link import Link
from stream.transport.membership import Membership
from stream.transport.producer import Producer
from stream.transport.recovery import Recovery, TableManager
from tests.stream.simulation import scenarios
from tests.stream.simulation.scenarios import Scenario
from tests.stream.simulation.world import World

NewWorld = Callable[..., World]

# Where a worker does not come far, it has tasks that were never begun, and Faust's own producer is never closed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed AIOKafkaProducer:ResourceWarning"),
]

PROOFS: dict[tuple[type, str], Scenario] = {
    (Connection, "wait_for_shutdown"): scenarios.stop,
    (Connection, "start"): scenarios.serve,
    (Connection, "on_stop"): scenarios.stop,
    (Connection, "call_thread"): scenarios.serve,
    (Connection, "on_partitions_assigned"): scenarios.serve_at_once,
    (Connection, "_create_worker_consumer"): scenarios.serve,
    (Connection, "on_start"): scenarios.wait_for_clicks,
    (Connection, "_highwaters"): scenarios.read_a_short_end,
    (Consumer, "_new_consumer_thread"): scenarios.serve,
    (Consumer, "_drain_messages"): scenarios.serve,
    (Consumer, "force_commit"): scenarios.serve,
    (Consumer, "_commit_offsets"): scenarios.refuse_a_commit,
    (Consumer, "wait_empty"): scenarios.stop,
    (Consumer, "verify_event_path"): scenarios.be_slow_after_a_while,
    (Producer, "on_start"): scenarios.serve,
    (Transport, "Consumer"): scenarios.serve,
    (Transport, "Producer"): scenarios.serve,
    (Recovery, "_wait"): scenarios.be_cut_off_while_recovering,
    (TableManager, "recovery"): scenarios.be_cut_off_while_recovering,
}
NOT_ABOUT_WORK = {"logger", "mundane_level"}  # only what is written to the log, and as what


@pytest.fixture(autouse=True)
def _leave_nothing() -> Iterator[None]:
    """What a scenario leaves behind is collected here, where its warnings are expected."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: WorkerThread) -> None:
        raise AssertionError("Faust starts a thread")

    monkeypatch.setattr(WorkerThread, "start", start)
    monkeypatch.setattr(asyncio, "new_event_loop", asyncio.get_running_loop)


@pytest.mark.parametrize(("owner", "name"), PROOFS, ids=[f"{owner.__name__}.{name}" for owner, name in PROOFS])
def test_with_the_stock_code_instead_the_scenario_fails(
    owner: type, name: str, new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(AssertionError):
        PROOFS[owner, name](new_world())


def test_nothing_is_changed_without_a_proof() -> None:
    owners = (Transport, Connection, Consumer, Producer, Recovery, TableManager)
    changed = {
        (owner, name)
        for owner in owners
        for name in vars(owner)
        if not name.startswith("__") and name != "_abc_impl" and any(name in vars(base) for base in owner.__mro__[1:])
    }
    assert {(owner, name) for owner, name in changed if name not in NOT_ABOUT_WORK} == set(PROOFS)


def nothing(*_: object) -> None: ...


def push_only(_: Connection, push_error: Callable[[Exception], Any], error: Exception) -> Any:
    return push_error(error)


@pytest.mark.parametrize(
    ("owner", "name", "instead", "scenario", "world"),
    [
        (fetcher, "PartitionRecords", _Records.__mro__[1], scenarios.serve, {}),
        (Connection, "_on_task_done", nothing, scenarios.let_the_assignor_fail, {"fetch_s": 0.001}),
        (Connection, "_tell", push_only, partial(scenarios.be_forbidden, what="join"), {}),
        (Connection, "_stamp_commits", nothing, scenarios.find_commits_of_another_topic, {}),
        (Consumer, "_put_back", nothing, partial(scenarios.click_first_while_partitions_move, after_s=0.008), {}),
        (Consumer, "_check_order", nothing, scenarios.make_the_topic_again, {}),
        (stream.state.table, "hold_flow", nothing, scenarios.recover_beside_a_backlog, {"fetch_s": 0.001}),
        (Link, "in_changelog", lambda link, receipt: {}, scenarios.read_no_more_than_needed, {}),
        (Membership, "fresh", True, scenarios.lose_heartbeats, {}),
    ],
)
def test_without_what_else_we_do_the_scenario_fails(
    owner: Any,
    name: str,
    instead: Any,
    scenario: Scenario,
    world: dict[str, Any],
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario(new_world(**world))
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises(AssertionError):
        scenario(new_world(**world))
