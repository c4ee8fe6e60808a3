"""Faults, each from its beginning to a check that nothing came of it.

Functions of a world, so that tests of what we change in Faust can run them with what we change undone.
"""

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError

from stream.errors import BrokerError
from tests.stream.simulation.broker import Log
from tests.stream.simulation.world import Worker, World

Scenario = Callable[[World], object]
Moment = Callable[[World, Worker], object]
"""Tells that a worker has come to a step, after 20 clicks that were served before."""


def computing(world: World, worker: Worker) -> bool:
    """A batch is computed."""
    return bool(worker.thread.working)


def lists_queued(world: World, worker: Worker) -> bool:
    """Lists are handed to librdkafka, and not sent."""
    return bool(worker.queued("recommendations"))


def lists_sent(world: World, worker: Worker) -> bool:
    """Lists have been written, but not acknowledged."""
    return len(world.lists) > 20


def states_queued(world: World, worker: Worker) -> bool:
    """States are handed to librdkafka, and not sent."""
    return bool(worker.queued(world.changelog))


def states_sent(world: World, worker: Worker) -> bool:
    """States have been written, but not acknowledged."""
    return sum(state.count for state in world.states.values()) > 20


def committed(world: World, worker: Worker) -> bool:
    """The offsets are committed."""
    return sum(world.committed.values()) > 20


def tombstones_queued(world: World, worker: Worker) -> bool:
    """Sessions are about to leave the changelog."""
    return bool(worker.queued(world.changelog) > 3)


def serve(world: World) -> None:
    """A worker serves what waits for it and what comes."""
    world.clicks(30)
    worker = world.started()
    world.clicks(40, spread_s=0.2)
    world.clicks(40)
    world.check()
    assert not worker.ended
    assert world.copies == 0
    assert world.broker.waits_ms == {world.settings.kafka.fetch_max_wait_ms}


def stop(world: World, after_s: float = 0.004) -> None:
    """A worker is asked to stop with work in hand, whose acknowledgements take their time."""
    worker = world.started()
    world.clicks(20)
    world.check()
    world.network.report_s = 0.2
    world.clicks(60)
    world.pass_(after_s)
    worker.stop()
    world.until(lambda: worker.ended, 5)
    assert worker.error is None
    assert not world.broker.group.members, "it did not leave"
    assert worker.left_behind <= {"Event.wait"}, "tasks are left that nobody stopped"
    world.network.report_s = 0.0005
    world.started()
    world.check()
    assert world.copies == 0, "what was in hand was done again"


def kill(world: World, moment: Moment) -> tuple[bool, bool, bool]:
    """A worker is killed, and another takes over. Tell what had reached the broker: lists, states, the commit."""
    first = world.started()
    world.clicks(20)
    world.check()
    world.clicks(20)
    world.until(lambda: moment(world, first), 2)
    first.kill()
    world.pass_(0.1)
    reached = lists_sent(world, first), states_sent(world, first), committed(world, first)
    world.start()
    world.clicks(20)
    world.check()
    return bool(reached[0]), bool(reached[1]), bool(reached[2])


def take_turns(world: World, after_s: float) -> None:
    """A second worker comes while clicks flow, then goes. Nothing is done twice: all ends before partitions go."""
    first = world.started()
    world.clicks(400, spread_s=3.0)
    world.pass_(after_s)
    second = world.started()
    world.until(lambda: first.ready, 10)
    assert (len(first.owned), len(second.owned)) == (1, 1)
    assert set(first.application.table.shards) == first.owned, "states of others are kept"
    world.pass_(0.5)
    second.stop()
    world.check()
    assert not first.ended
    assert world.copies == 0, "what was finished was done again"


def come_while_computing(world: World) -> None:
    """A second worker comes while the first computes a large batch, which it must then drop."""
    first = world.started()
    world.clicks(20)
    world.check()
    first.thread.seconds = 2.5
    world.clicks(200)
    world.until(lambda: first.thread.working)
    second = world.started()
    world.until(lambda: first.ready)
    first.thread.seconds = 0.003
    world.clicks(50)
    world.check()
    assert not first.ended
    assert not second.ended
    assert world.copies == 0, "a batch was published that was no longer ours"


def freeze(world: World, moment: Moment) -> bool:
    """A worker is frozen with work in hand until another has taken over. Tell whether its states stand last."""
    zombie = world.started()
    world.clicks(20)
    world.check()
    world.clicks(100)
    world.until(lambda: moment(world, zombie), 1)
    zombie.process.freeze()
    heir = world.started()
    world.clicks(50, sessions=3)
    world.check()
    assert not zombie.ended
    zombie.process.thaw()
    world.pass_(0.01)
    late = world.overwritten
    world.clicks(50)
    world.until(lambda: zombie.ready)
    world.check()
    heir.kill()
    zombie.kill()
    world.started()
    world.clicks(30)
    world.check()
    return late


def be_told_too_late(world: World, topic: str) -> None:
    """A worker hears that its records are written when its partitions have gone to another one, and come back."""
    worker = world.started()
    world.clicks(20)
    world.check()
    world.network.late_s[topic] = 20.0
    world.clicks(20)
    world.until(lambda: (lists_sent if topic == "recommendations" else states_sent)(world, worker))
    worker.process.freeze()
    world.network.late_s.clear()
    heir = world.started()
    world.clicks(20)
    world.check()
    heir.kill()
    worker.process.thaw()
    world.until(lambda: worker.ready and not world.broker.group.joining)
    world.clicks(20)
    world.check()
    world.pass_(20)
    world.clicks(20)
    world.check()
    assert not worker.ended


def find_commits_of_another_topic(world: World) -> None:
    """The clicks were deleted and made again, and a worker that had not noticed committed where it had been."""
    world.clicks(30)
    for partition in range(world.partitions):
        world.broker.group.committed["clicks", partition] = 10
        world.broker.group.metadata["clicks", partition] = "topic_id=topic-0"
    first = world.started()
    world.check()
    first.stop()
    world.until(lambda: first.ended)
    second = world.started()
    world.clicks(10)
    world.check()
    assert second.replayed == 0, "its own commits are not used either"


def find_commits_of_somebody_else(world: World) -> None:
    """An operator has set the offsets; no id is in what other programs commit."""
    world.clicks(30)
    for partition, text in enumerate(["", "by hand", ""][: world.partitions]):
        world.broker.group.committed["clicks", partition] = world.broker.logs["clicks", partition].end
        world.broker.group.metadata["clicks", partition] = text
    world.started()
    world.pass_(5)
    assert not world.lists


def lose_heartbeats(world: World) -> None:
    """A worker does not reach its coordinator; its partitions may be somebody else's, and it produces nothing more."""
    worker = world.started()
    world.clicks(20)
    world.check()
    world.network.cut(worker.process, "coordinator")
    world.pass_(3.5)
    lists = len(world.lists)
    world.clicks(20)
    world.pass_(30)
    assert len(world.lists) == lists, "it produced without a heartbeat"
    world.network.heal()
    world.check()
    assert not worker.ended


def wait_for_clicks(world: World) -> None:
    """Nobody clicks for longer than a session timeout; then somebody does."""
    worker = world.started()
    world.pass_(20)
    world.clicks(20)
    world.check(2)
    assert not worker.ended
    assert world.copies == 0


def serve_at_once(world: World) -> None:
    """Who has just been given partitions may produce, before the first heartbeat."""
    world.clicks(20)
    world.started(heartbeat_interval_s=2.9)
    world.check(1)


def two_at_once(world: World) -> None:
    """Two workers start together, with clicks waiting and nothing committed."""
    world.clicks(400)
    workers = [world.start(), world.start()]
    world.check()
    assert not any(worker.ended for worker in workers)
    assert world.copies == 0


def click_first_while_partitions_move(world: World, after_s: float) -> None:
    """The first clicks of all come while a second worker joins, and the first waits for some with a fetch."""
    first = world.started()
    second = world.start()
    world.until(lambda: first.application.faust.rebalancing)
    world.pass_(after_s)
    world.clicks(60)
    world.check()
    assert not first.ended
    assert not second.ended


def let_the_assignor_fail(world: World) -> None:
    """A task of aiokafka's own dies while nobody asks it for records."""
    worker = world.started()
    world.clicks(20)
    world.check()

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    worker.application.faust.assignor.on_assignment = fail
    second = world.start()
    world.until(lambda: worker.ended, 20)
    assert worker.error is not None
    world.clicks(20)
    world.until(lambda: second.ready)
    world.check()


def be_slow_after_a_while(world: World) -> None:
    """A worker that has run for long has more clicks than it can serve. It does not say that it has stopped."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    worker = world.started()
    logging.getLogger().addHandler(handler)
    world.pass_(310)
    world.clicks(10)
    world.check()
    worker.thread.seconds = 2.5
    world.clicks(1000, spread_s=8.0)
    world.check()
    logging.getLogger().removeHandler(handler)
    assert complaints == []


def refuse_a_commit(world: World) -> None:
    """Kafka refuses a commit because the group is rebalancing."""
    worker = world.started()
    world.clicks(20)
    world.until(lambda: len(world.lists) == 20)
    world.broker.group.refuse_commits = 1

    def noted_in_vain() -> bool:
        return any(world.committed[partition] < offset for partition, offset in worker.committed.items())

    end = world.clock.now + 1.0
    world.until(lambda: noted_in_vain() or world.clock.now > end)
    assert world.broker.group.refused
    assert not noted_in_vain(), "an offset is noted that Kafka has not taken"
    world.check()
    assert not worker.ended


def stop_amid_a_rebalance(world: World, after_s: float) -> None:
    """A worker is asked to stop while another joins."""
    first = world.started()
    world.clicks(300, spread_s=2.0)
    world.pass_(0.3)
    second = world.start()
    world.until(lambda: first.application.faust.rebalancing)
    world.pass_(after_s)
    first.stop()
    world.until(lambda: first.ended, 3)
    assert first.error is None
    world.until(lambda: second.ready)
    world.check()
    assert world.copies == 0


def be_forbidden(world: World, what: str) -> None:
    """Somebody takes a right from the workers."""
    if what == "join":
        world.broker.group.forbidden.add(what)
    worker = world.start()
    world.clicks(20)
    world.pass_(3)
    world.broker.group.forbidden.add(what)
    world.clicks(20)
    world.until(lambda: worker.ended, 30)
    assert isinstance(worker.error, BrokerError), worker.error
    world.broker.group.forbidden.clear()
    world.restart_what_ended()
    world.check()


def be_refused(world: World, topic: str, error: int = KafkaError.MSG_SIZE_TOO_LARGE) -> None:
    """Kafka does not take one record of several. The worker ends, and the next does it all again."""
    worker = world.started()
    world.clicks(20)
    world.check()
    number = 0

    def third(message: object) -> int | None:
        nonlocal number
        number += 1
        return error if number == 3 else None

    world.broker.refusals[topic] = third
    for _ in range(10):
        world.send("s1", b"{")
        world.clicks(5)
    world.until(lambda: worker.ended, 15)
    assert worker.error is not None
    assert not world.finished
    world.start()
    world.check()


def outlive_a_broker(world: World, seconds: float) -> None:
    """The broker is away for a while, with work in hand."""
    worker = world.started()
    world.clicks(20)
    world.check()
    world.clicks(60, spread_s=0.05)
    world.pass_(0.02)
    world.network.stop_broker()
    world.pass_(seconds)
    world.network.start_broker()
    world.clicks(20)
    world.check()
    assert not worker.ended


def be_cut_off_while_recovering(world: World) -> None:
    """A worker does not reach its brokers for longer than a request may take, just when it gets its partitions."""
    world.started()
    world.clicks(40)
    world.check()
    world.workers[0].kill()
    worker = world.start()
    world.until(lambda: worker.recovering)
    world.network.cut(worker.process)
    world.clicks(20)
    world.pass_(90)
    world.network.heal()
    world.pass_(30)
    world.restart_what_ended()
    world.check()


def recover_beside_a_backlog(world: World) -> None:
    """Clicks wait in large numbers when a worker that has read its changelog begins."""
    world.started()
    world.clicks(300, sessions=60)
    world.check()
    world.workers[0].stop()
    world.until(lambda: world.workers[0].ended)
    world.clicks(1000, sessions=60)
    second = world.started()
    world.check()
    assert world.copies == 0
    assert second.replayed == 0, "clicks were read twice"


def read_no_more_than_needed(world: World) -> None:
    """A rebalance reads the changelog from where the worker knows it, not again what it has written itself."""
    first = world.started()
    world.clicks(300, sessions=100)
    world.check()
    before = first.recovered_records
    second = world.started()
    world.until(lambda: first.ready)
    world.check()
    again = first.recovered_records - before
    assert again <= 5, f"{again} records of its own were read again"
    world.clicks(100)
    second.stop()
    world.check()


def read_a_short_end(world: World) -> None:
    """The broker tells the first offset of the last batch for the changelog's end, as Tansu does."""
    world.broker.short_ends = True
    first = world.started()
    world.clicks(400, sessions=300)
    world.check()
    first.kill()  # one that is stopped would write a record of its own behind them
    second = world.started(batch_max_events=5)  # few records at once, so that those of one batch come in many fetches
    assert second.sessions == 300
    assert not second.application.table.data.data, "Faust keeps them too"
    world.clicks(300, sessions=300)
    world.check()


def make_the_topic_again(world: World) -> str:
    """The clicks are deleted and made again under a worker; tell what it says."""
    worker = world.started()
    world.clicks(40)
    world.check()
    for partition in range(world.partitions):
        world.broker.logs["clicks", partition] = Log()
        world.broker.append("clicks", partition, [(b"s1", b"{", ())])
    world.until(lambda: worker.ended)
    return str(worker.error)


def lose_records(world: World) -> None:
    """Retention takes clicks that were not read."""
    worker = world.started()
    world.clicks(40)
    world.check()
    world.network.cut(worker.process, "leader")
    world.clicks(40)
    world.pass_(1)
    for partition in range(world.partitions):
        log = world.broker.logs["clicks", partition]
        log.delete_before(log.end - 3)
    world.network.heal()
    world.until(lambda: world.finished)
    assert not worker.ended


def come_back_under_its_name(world: World) -> None:
    """A static member that is started again gets its partitions back, and its neighbour is not disturbed."""
    world.started(group_instance_id="a")
    neighbour = world.started(group_instance_id="b")
    world.until(lambda: all(worker.ready for worker in world.workers))
    world.clicks(50)
    world.check()
    generation = world.broker.group.generation
    world.workers[0].kill()
    world.clicks(50)
    world.pass_(2)
    world.started(group_instance_id="a")
    world.check(5)
    assert world.broker.group.generation == generation
    assert neighbour.ready


def die_of_a_click(world: World) -> int:
    """A click ends every process that computes it. Return how many it has ended before it was given up."""
    world.deadly_item = 50
    world.started()
    world.clicks(12)
    world.check()
    deaths = 0
    world.clicks(20)
    world.click("s1", 50)
    world.clicks(20)
    while True:
        world.until(lambda: world.finished or world.workers[0].ended)
        if world.finished:
            break
        deaths += 1
        world.restart_what_ended()
        world.clicks(3)
    world.check()
    return deaths


def let_sessions_go(world: World, moment: Moment | None = None) -> None:
    """Sessions fall silent and leave; some come back. A worker that is frozen while they leave does so too late."""
    worker = world.started()
    world.clicks(40, sessions=20)
    world.check()
    world.broker.ahead_ms += 40 * 60_000
    few = [(f"t{number % 4}", number + 1) for number in range(8)]
    world.clicks_of(few, spread_s=3.2)
    if moment is not None:
        world.until(lambda: moment(world, worker), 4)
        worker.process.freeze()
        world.started()
        world.clicks_of(few, spread_s=3.2)
    world.pass_(3.5)
    world.check()
    assert {key[:1] for _, key in world.states} == {b"t"}, "the silent did not leave"
    world.clicks(10, sessions=20)
    world.check()
    worker.process.thaw()
    world.pass_(0.1)
    assert world.overwritten == (moment is not None), "it did not come too late"
    for each in world.workers:
        each.kill()
    world.started()
    world.clicks(20, sessions=20)
    world.check()
