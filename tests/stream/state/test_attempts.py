"""Workers that die, of an event or of somebody else, and what their successors make of it.

The world is small: a partition's log, what is committed, how far the states are, the record in the changelog. A life is
one worker; it does what the pipeline does with the plans, and may be killed between any two of its steps.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import StateError
from stream.state.attempts import Attempt, Attempts, Plan, read_attempt

IN_FLIGHT = 60
MAX_ATTEMPTS = 3


class Killed(Exception):
    pass


@dataclass
class World:
    """Partitions of `length` events each. Events are `(partition, offset)`."""

    length: int
    partitions: int = 1
    killers: set[tuple[int, int]] = field(default_factory=set)
    records: dict[int, bytes] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    applied: dict[int, int] = field(default_factory=dict)
    served: set[tuple[int, int]] = field(default_factory=set)
    condemned: set[tuple[int, int]] = field(default_factory=set)
    killed_alone: dict[tuple[int, int], int] = field(default_factory=dict)
    pieces: int = 0
    steps: int = 0

    def done(self) -> bool:
        return all(self.committed.get(p, 0) == self.length for p in range(self.partitions))


class Life:
    """One worker. `kill_at` is the step at which somebody kills it."""

    def __init__(self, world: World, luck: random.Random, kill_at: int | None) -> None:
        self.world, self.luck, self.kill_at = world, luck, kill_at
        self.attempts = Attempts(MAX_ATTEMPTS, IN_FLIGHT)
        self.positions = {p: world.committed.get(p, 0) for p in range(world.partitions)}
        self.flying: list[tuple[int, list[int]]] = []
        self.alone: tuple[int, int] | None = None

    def step(self) -> None:
        self.world.steps += 1
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                if self.alone is not None:
                    self.world.killed_alone[self.alone] = self.world.killed_alone.get(self.alone, 0) + 1
                raise Killed

    def run(self) -> None:
        """Serve until everything is committed, or until the end."""
        while waiting := [p for p, position in self.positions.items() if position < self.world.length]:
            p = self.luck.choice(waiting)
            batch = self.luck.randint(1, 40)
            offsets = list(range(self.positions[p], min(self.positions[p] + batch, self.world.length)))
            if p not in self.attempts:
                self.begin(p, offsets[0])
            plan = self.attempts.plan(p, offsets)
            if plan.careful:
                self.land_all()
                assert not self.attempts.free([p])
                plan = self.attempts.plan(p, offsets)
            if plan.careful:
                self.carefully(p, offsets[: plan.take], plan)
            else:
                self.freely(p, offsets, plan)
        self.land_all()
        for p, record in self.attempts.released(range(self.world.partitions)).items():
            self.step()
            self.write(p, record)

    def begin(self, p: int, first: int) -> None:
        found = read_attempt(self.world.records[p]) if p in self.world.records else None
        self.attempts.begin(p, first, found, self.world.applied.get(p, -1), self.world.length)

    def carefully(self, p: int, offsets: list[int], plan: Plan) -> None:
        assert not self.flying
        self.world.pieces += 1
        if plan.rehearse:
            for _ in range(5):
                self.step()
        if plan.condemned:
            assert len(offsets) == 1
            self.world.condemned.add((p, offsets[0]))
        else:
            assert plan.record is not None
            self.attempts.handed_over([p])
            self.step()
            self.write(p, plan.record)
            self.alone = (p, offsets[0]) if len(offsets) == 1 else None
            self.step()
            self.attempts.recorded(p)
            self.compute(p, offsets)
            self.step()
            self.world.applied[p] = offsets[-1]
        self.step()
        self.world.committed[p] = self.positions[p] = offsets[-1] + 1
        self.alone = None
        self.attempts.finished(p, offsets[-1] + 1)

    def freely(self, p: int, offsets: list[int], plan: Plan) -> None:
        assert plan.take == len(offsets)
        if plan.record is not None:
            self.attempts.handed_over([p])
            self.step()
            self.write(p, plan.record)
            self.step()
            self.attempts.recorded(p)
        while sum(len(o) for q, o in self.flying if q == p) + len(offsets) > IN_FLIGHT:
            self.land()
        self.flying.append((p, offsets))
        self.positions[p] = offsets[-1] + 1
        self.compute(p, offsets)
        self.step()
        while self.flying and self.luck.random() < 0.5:
            self.land()

    def compute(self, p: int, offsets: list[int]) -> None:
        if any((p, offset) in self.world.killers and offset > self.world.applied.get(p, -1) for offset in offsets):
            raise Killed
        self.world.served.update((p, offset) for offset in offsets)

    def land(self) -> None:
        p, offsets = self.flying.pop(0)
        self.step()
        self.world.applied[p] = max(offsets[-1], self.world.applied.get(p, -1))
        if self.luck.random() < 0.5:
            self.commit(p, offsets)
        self.attempts.finished(p, offsets[-1] + 1)

    def commit(self, p: int, offsets: list[int]) -> None:
        self.step()
        self.world.committed[p] = max(offsets[-1] + 1, self.world.committed.get(p, 0))

    def land_all(self) -> None:
        while self.flying:
            self.land()
        for p, position in self.positions.items():
            if position:
                self.commit(p, [position - 1])

    def write(self, p: int, record: bytes | None) -> None:
        if record is None:
            self.world.records.pop(p, None)
        else:
            self.world.records[p] = record


def deaths(world: World, seed: int, kills: Iterator[int | None]) -> int:
    """Let one worker after the other live until everything is committed, and return how many died."""
    luck = random.Random(seed)
    for count in range(10_000):
        try:
            Life(world, luck, next(kills, None)).run()
        except Killed:
            continue
        assert world.done()
        return count
    raise AssertionError("the partition is blocked")


places = st.integers(0, 399)


@given(killer=places, seed=st.integers(0, 10_000), partitions=st.integers(1, 3))
def test_an_event_that_kills_is_condemned_after_a_bounded_number_of_deaths(
    killer: int, seed: int, partitions: int
) -> None:
    world = World(400, partitions, killers={(0, killer)})
    assert deaths(world, seed, iter(())) <= 3 + MAX_ATTEMPTS
    assert world.condemned == world.killers
    assert world.served == {(p, o) for p in range(partitions) for o in range(400)} - world.killers


def test_a_worker_that_ends_in_good_order_leaves_no_record() -> None:
    world = World(400, 2)
    assert deaths(world, 1, iter(())) == 0
    assert (world.records, world.pieces) == ({}, 0)


@given(killers=st.sets(st.tuples(st.integers(0, 1), places), max_size=5), seed=st.integers(0, 10_000))
def test_several_killers_are_found_and_nobody_else(killers: set[tuple[int, int]], seed: int) -> None:
    world = World(400, 2, killers=killers)
    assert deaths(world, seed, iter(())) <= len(killers) * (3 + MAX_ATTEMPTS)
    assert world.condemned == killers


@given(
    kills=st.lists(st.integers(0, 60) | st.integers(0, 1000), max_size=40),
    killers=st.sets(st.tuples(st.integers(0, 1), places), max_size=2),
    seed=st.integers(0, 10_000),
)
def test_an_innocent_is_condemned_only_if_somebody_kills_whenever_it_is_tried_alone(
    kills: list[int], killers: set[tuple[int, int]], seed: int
) -> None:
    world = World(400, 2, killers=killers)
    deaths(world, seed, iter(kills))
    for event in world.condemned - killers:
        assert world.killed_alone[event] >= MAX_ATTEMPTS
    assert world.condemned >= {killer for killer in killers if killer not in world.served}
    assert len(world.served | world.condemned) == 2 * 400


def test_workers_killed_at_random_moments_condemn_nobody_and_are_hardly_slowed_down() -> None:
    """Two partitions of 50,000 events, and a kill every 400 steps on average; a batch takes about three."""
    luck = random.Random(4)
    world = World(50_000, 2)
    died = deaths(world, 5, iter(lambda: int(luck.expovariate(1 / 400)), None))
    assert died > 20
    assert world.condemned == set()
    calm = World(50_000, 2)
    deaths(calm, 5, iter(()))
    assert world.pieces < died * 10
    assert world.steps < 1.5 * calm.steps


def test_even_a_worker_killed_every_time_soon_after_it_began_gets_on() -> None:
    """No batch comes further than its record, time after time; then somebody stops that."""
    world = World(400, killers=set())
    assert deaths(world, 1, iter([3] * 30)) == 30
    assert len(world.condemned) <= 30 // MAX_ATTEMPTS


def begun(found: Attempt | None, first: int = 0, newest: int = -1, log_end: int | None = 1_000) -> Attempts:
    attempts = Attempts(MAX_ATTEMPTS, IN_FLIGHT)
    assert 0 not in attempts
    attempts.begin(0, first, found, newest, log_end)
    assert 0 in attempts
    return attempts


def written(plan: Plan) -> Attempt:
    assert plan.record is not None
    return read_attempt(plan.record)


def test_nothing_that_lies_behind_what_the_dead_could_have_had_is_suspicious() -> None:
    dead = Attempt(running=True, offset=0, died=1)
    assert begun(dead, 100).plan(0, [100]).careful
    assert not begun(dead, 100, log_end=100).plan(0, [100]).careful
    passed = Attempt(running=True, offset=0, died=9, until=100, end=50)
    assert not begun(passed, 100).plan(0, [100]).careful


def test_the_stretch_is_counted_from_the_end_of_the_states_not_from_the_commit() -> None:
    attempts = begun(Attempt(running=True), newest=500, log_end=None)
    assert written(attempts.plan(0, [0])).until == 501 + IN_FLIGHT
    attempts.recorded(0)
    attempts.finished(0, 500 + IN_FLIGHT)
    assert attempts.free([0])
    assert not attempts.free([0, 1])
    attempts.finished(0, 501 + IN_FLIGHT)
    assert not attempts.free([0])
    assert written(attempts.plan(0, [600])).died == 0


def test_a_stretch_may_end_with_offsets_that_hold_no_event() -> None:
    attempts = begun(Attempt(running=True, died=1), log_end=8)
    assert attempts.plan(0, [0, 1]).careful
    attempts.recorded(0)
    attempts.finished(0, 6)  # Kafka's own records may stand at 6 and 7
    assert not attempts.plan(0, [8]).careful


def test_a_death_after_the_stretch_was_passed_but_not_committed_counts() -> None:
    attempts = begun(Attempt(running=True), log_end=20)
    attempts.plan(0, [0])
    attempts.recorded(0)
    attempts.finished(0, 20)
    record = written(attempts.plan(0, [20]))
    assert written(begun(record, 5).plan(0, [5])).died == 1


def test_a_group_that_was_set_back_does_not_suspect_what_was_served_long_ago() -> None:
    found = Attempt(running=True, offset=600, end=601, died=2, until=900, suspect=600)
    assert not begun(found, 0).plan(0, [0]).careful


def test_a_worker_that_gets_its_own_partition_back_has_not_died() -> None:
    attempts = begun(None)
    record = written(attempts.plan(0, [0, 1]))
    for _ in range(3):
        attempts.begin(0, 0, record, -1, 100)
        plan = attempts.plan(0, [0, 1])
        record = written(plan)
        assert (plan.careful, record.died) == (False, 0)


def test_a_partition_that_changes_hands_in_good_order_keeps_the_suspicion_and_adds_nothing() -> None:
    found = Attempt(running=True, offset=0, died=1)
    for first in (0, 10, 20):
        attempts = begun(found, first)
        assert attempts.released([0, 1]) == {}  # nothing was written, so nothing is to be taken back
        attempts = begun(found, first)
        plan = attempts.plan(0, list(range(first, 100)))
        assert plan.careful
        attempts.handed_over([0])  # it need not be acknowledged: what takes it back is written behind it
        attempts.finished(0, first + plan.take)
        record = attempts.released([0])[0]
        assert record is not None
        found = read_attempt(record)
        assert (found.running, found.died, found.until) == (False, 2, IN_FLIGHT)
    assert not begun(found, IN_FLIGHT).plan(0, [IN_FLIGHT]).careful


def test_a_worker_that_cannot_make_any_list_dies_before_it_blames_the_event_again() -> None:
    alone = Attempt(running=True, offset=7, end=8, died=2, until=50)
    plan = begun(alone, 7).plan(0, [7, 8, 9])
    assert (plan.take, plan.rehearse, plan.condemned) == (1, True, False)
    assert written(plan).ended == 1
    last = Attempt(running=True, offset=7, end=8, died=2, until=50, suspect=7, ended=MAX_ATTEMPTS - 1)
    plan = begun(last, 7).plan(0, [7, 8, 9])
    assert (plan.take, plan.condemned, plan.record) == (1, True, None)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"died": "two"}'])
def test_a_record_that_no_worker_wrote_is_refused(value: bytes) -> None:
    with pytest.raises(StateError, match="no worker wrote it"):
        read_attempt(value)
