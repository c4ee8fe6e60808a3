"""What no fault may do: lose a click, count it twice, answer it never or in two ways, or block a partition.

Each scenario runs whole workers on a simulated broker and clock (`tests.stream.simulation`), and ends with the check of
`World.check` against a fold of the log that knows nothing of Kafka.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.recommender import Recommender
from stream.errors import PublishError, TopicError
from tests.stream.simulation import scenarios
from tests.stream.simulation.scenarios import Moment, Scenario
from tests.stream.simulation.world import Worker, World

NewWorld = Callable[..., World]

# A worker that is killed in its first moment has a task that was never begun.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.serve,
        scenarios.come_while_computing,
        scenarios.lose_heartbeats,
        scenarios.wait_for_clicks,
        scenarios.serve_at_once,
        scenarios.two_at_once,
        scenarios.refuse_a_commit,
        scenarios.recover_beside_a_backlog,
        scenarios.be_cut_off_while_recovering,
        scenarios.read_no_more_than_needed,
        scenarios.read_a_short_end,
        scenarios.lose_records,
        scenarios.come_back_under_its_name,
        scenarios.let_sessions_go,
        scenarios.let_the_assignor_fail,
        scenarios.be_slow_after_a_while,
        scenarios.find_commits_of_another_topic,
        scenarios.find_commits_of_somebody_else,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_nothing_comes_of_it(scenario: Scenario, new_world: NewWorld) -> None:
    scenario(new_world())


@pytest.mark.parametrize(
    ("moment", "reached"),
    [
        (scenarios.computing, (False, False, False)),
        (scenarios.lists_queued, (False, False, False)),
        (scenarios.lists_sent, (True, False, False)),
        (scenarios.states_queued, (True, False, False)),
        (scenarios.states_sent, (True, True, False)),
        (scenarios.committed, (True, True, True)),
    ],
    ids=lambda moment: getattr(moment, "__name__", ""),
)
def test_a_worker_that_is_killed_at_any_step_has_lost_and_doubled_nothing(
    moment: Moment, reached: tuple[bool, bool, bool], new_world: NewWorld
) -> None:
    """Lists, then states, then the commit: the order is what makes it so."""
    assert scenarios.kill(new_world(), moment) == reached


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.004, 0.006, 0.05])
def test_a_worker_that_is_stopped_ends_what_it_has_in_hand(after_s: float, new_world: NewWorld) -> None:
    scenarios.stop(new_world(), after_s)


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.301, 0.5, 1.0])
def test_workers_that_come_and_go_repeat_nothing(after_s: float, new_world: NewWorld) -> None:
    scenarios.take_turns(new_world(), after_s)


@pytest.mark.parametrize(
    "moment",
    [
        scenarios.computing,
        scenarios.lists_queued,
        scenarios.lists_sent,
        scenarios.states_queued,
        scenarios.states_sent,
    ],
    ids=lambda moment: moment.__name__,
)
def test_a_worker_that_comes_back_from_the_dead_spoils_nothing(moment: Moment, new_world: NewWorld) -> None:
    late = scenarios.freeze(new_world(), moment)
    # What librdkafka has in its queue cannot be called back: old states stand behind newer ones, and are known as such.
    assert late == (moment is scenarios.states_queued)


@pytest.mark.parametrize("topic", ["recommendations", "nextclick-sessions-changelog"])
def test_reports_from_before_the_partitions_went_change_nothing(topic: str, new_world: NewWorld) -> None:
    scenarios.be_told_too_late(new_world(), topic)


@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.008])
def test_first_clicks_that_come_while_partitions_move_are_not_skipped(after_s: float, new_world: NewWorld) -> None:
    scenarios.click_first_while_partitions_move(new_world(), after_s)


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003, 0.01, 0.3])
def test_a_worker_is_stopped_amid_a_rebalance(after_s: float, new_world: NewWorld) -> None:
    scenarios.stop_amid_a_rebalance(new_world(), after_s)


@pytest.mark.parametrize("what", ["join", "commit"])
def test_a_worker_without_the_right_to_do_its_work_says_so(what: str, new_world: NewWorld) -> None:
    scenarios.be_forbidden(new_world(), what)


@pytest.mark.parametrize("seconds", [0.5, 4.0, 20.0])
def test_a_worker_outlives_a_broker_that_is_away(seconds: float, new_world: NewWorld) -> None:
    scenarios.outlive_a_broker(new_world(), seconds)


@pytest.mark.parametrize("topic", ["recommendations", "dead-letters", "nextclick-sessions-changelog"])
@pytest.mark.parametrize("error", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._MSG_TIMED_OUT], ids=["large", "late"])
def test_a_record_that_is_not_written_ends_the_worker_and_the_next_does_it_all(
    topic: str, error: int, new_world: NewWorld
) -> None:
    world = new_world()
    scenarios.be_refused(world, topic, error)
    assert isinstance(world.workers[0].error, PublishError)
    assert topic in str(world.workers[0].error)


def test_clicks_that_begin_anew_end_the_worker(new_world: NewWorld) -> None:
    world = new_world()
    assert "the topic was deleted and made again" in scenarios.make_the_topic_again(world)
    assert isinstance(world.workers[0].error, TopicError)


def test_a_click_that_kills_is_given_up_and_all_others_are_served(new_world: NewWorld) -> None:
    world = new_world(worker={"max_attempts": 2})
    assert 3 < scenarios.die_of_a_click(world) <= 3 + 2
    assert len(world.dead_letters) >= 1


def test_a_worker_that_comes_back_from_the_dead_ends_no_session_that_has_begun_anew(new_world: NewWorld) -> None:
    scenarios.let_sessions_go(new_world(), scenarios.tombstones_queued)


class Fault(NamedTuple):
    """Something that happens to a world. `which` picks a worker, if there is one."""

    what: str
    which: int
    amount: float
    pause_s: float


WORKER_FAULTS: dict[str, Callable[[World, Worker], object]] = {
    "stop": lambda world, worker: worker.stop(),
    "kill": lambda world, worker: worker.kill(),
    "freeze": lambda world, worker: worker.process.freeze(),
    "thaw": lambda world, worker: worker.process.thaw(),
    "cut": lambda world, worker: world.network.cut(worker.process),
    "cut coordinator": lambda world, worker: world.network.cut(worker.process, "coordinator"),
    "full": lambda world, worker: worker.fill_up(),
}


def refuse_once(world: World, topic: str) -> None:
    def refuse(message: object) -> int:
        del world.broker.refusals[topic]
        return int(KafkaError.MSG_SIZE_TOO_LARGE)

    world.broker.refusals[topic] = refuse


WORLD_FAULTS: dict[str, Callable[[World, float], object]] = {
    "clicks": lambda world, amount: world.clicks(int(amount * 60), spread_s=amount),
    "burst": lambda world, amount: world.clicks(int(amount * 200)),
    "poison": lambda world, amount: world.send(f"s{int(amount * 5)}", b"{"),
    "start": lambda world, amount: world.start() if len(world.alive) < 3 else None,
    "restart": lambda world, amount: world.restart_what_ended(),
    "broker down": lambda world, amount: world.network.stop_broker(),
    "broker up": lambda world, amount: world.network.start_broker(),
    "heal": lambda world, amount: world.network.heal(),
    "refuse a list": lambda world, amount: refuse_once(world, "recommendations"),
    "refuse a state": lambda world, amount: refuse_once(world, world.changelog),
    "refuse a commit": lambda world, amount: setattr(world.broker.group, "refuse_commits", 1 + int(amount * 2)),
    "slow reports": lambda world, amount: setattr(world.network, "report_s", amount * 1.5),
    "slow batches": lambda world, amount: world.compute_for(amount * 4),
}

faults = st.builds(
    Fault,
    what=st.sampled_from([*WORLD_FAULTS, *WORKER_FAULTS]),
    which=st.integers(0, 2),
    amount=st.floats(0.001, 1.0),
    pause_s=st.sampled_from([0.0, 0.0003, 0.002, 0.01, 0.1, 1.0, 4.0, 8.0]),
)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(1, 4), st.sampled_from([3, 500]), st.booleans(), st.lists(faults, min_size=3, max_size=15))
def test_whatever_happens_in_whatever_order(
    recommender: Recommender, partitions: int, fetch_most: int, inline: bool, schedule: list[Fault]
) -> None:
    with World(recommender, partitions, inline=inline).running() as world:
        world.broker.fetch_most = fetch_most
        world.start()
        for fault in schedule:
            if fault.what in WORLD_FAULTS:
                WORLD_FAULTS[fault.what](world, fault.amount)
            elif world.alive:
                WORKER_FAULTS[fault.what](world, world.alive[fault.which % len(world.alive)])
            world.pass_(fault.pause_s)
        world.make_well()
        for _ in range(3):  # who was told to stop, or is about to fail, does so now
            world.pass_(20)
            world.restart_what_ended()
        world.clicks(10)
        world.check()
