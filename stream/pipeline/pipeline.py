"""Batches on their way: computed, published, stored, finished, in the one order that loses nothing.

1. lists and dead letters are handed to Kafka as soon as they are made, and acknowledged,
2. then the states, in the changelog,
3. then the states are put into the table,
4. then the events are finished, and their offsets may be committed.

Batches overlap, so that a click does not wait for the acknowledgements of the one before it: the next batch is computed
from the states that this one leads to (`Airspace`) while its lists are still on their way. Steps 2 to 4 happen in the
order of the batches; when several have arrived together, each session's newest state is written once for all of them.

Ended between 1 and 2, the events are read again and give the same lists under the same ids, because a list is a
function of its session's clicks and of nothing else. Ended between 2 and 4, they are read again and found in their
sessions' applied offsets, with their lists long published. Any other order loses lists or counts clicks twice. Nothing
here is retried: what raises ends the process before step 4.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

from serving.control import Control
from serving.errors import StateError
from stream.contract.incoming import Incoming
from stream.errors import BrokerError, PublishError, TopicError, as_sentence, place_of
from stream.metrics import Metrics
from stream.pipeline.compute import ByPlace, Computer, Outcome
from stream.pipeline.flight import Airspace, Flight, newest_states
from stream.pipeline.notes import Notes
from stream.pipeline.overload import Overload
from stream.pipeline.publish import answers, check, condemned
from stream.settings import Settings
from stream.state.attempts import Attempts
from stream.state.attempts import Plan as AttemptPlan
from stream.state.table import APPLIED_OFFSET_HEADER, MARKER_KEY, SessionTable
from stream.transport.link import Link
from stream.transport.producer import OffsetReceipt, Outgoing, Receipt

# Looking for expired sessions costs little, but not nothing for each batch of one click.
EXPIRE_EVERY_S = 1.0
# Sessions of all partitions that leave in one write: the events that wait meanwhile wait for two milliseconds, and
# librdkafka has room for them.
EXPIRE_AT_MOST = 5_000
# Events that may be on their way at once: what a rebalance waits for, and what is computed again after a crash. With
# half of it the worker waits for acknowledgements while it drains a backlog: 20.6 us for a click, not 17.4.
MAX_IN_FLIGHT = 8_192
# A batch that takes no longer than this is computed in the loop: two threads that want the interpreter cost each other
# more than the loop can do meanwhile (a tenth of all CPU, `bench-framework`). A longer one goes to the other thread, so
# that heartbeats and acknowledgements go on.
INLINE_S = 0.02
# Before an event is tried again that a worker has died of, alone: a worker that would die of anything dies meanwhile.
REHEARSAL_S = 1.0
# How often states are written, while there are some to write: nobody who waits for a list waits for them, and what
# comes together is written, sent and acknowledged together. At 1,000 clicks/s, one write for a hundred clicks.
STORE_EVERY_S = 0.1
# How often a worker that may not produce looks whether it may again.
HELD_S = 0.05


class Expired(NamedTuple):
    """Sessions of one partition that leave, each with its applied offset."""

    partition: int
    sessions: list[tuple[bytes, int]]


class Writing(NamedTuple):
    """What one write to the changelog holds."""

    flights: list[Flight]
    states: ByPlace
    markers: dict[int, bytes]
    expired: list[Expired]
    epoch: int
    began: float


class Pipeline:
    """Takes batches from the transport (`stream.transport.work.Work`) and brings them to their end.

    Args:
        link: writes to Kafka, and knows what this worker may do.
        table: the sessions.
        computer: what makes lists; large batches in `executor`.
        airspace: the states that `computer` reads.
        settings: of this process.
        control: returns what operators have told so far.
        metrics: gets all figures.
        executor: one thread, so that the encoder and the index, themselves on one thread, never share their core.
        on_failure: called with an error that must end the process.

    """

    def __init__(
        self,
        link: Link,
        table: SessionTable,
        computer: Computer,
        airspace: Airspace,
        *,
        settings: Settings,
        control: Callable[[], Control],
        metrics: Metrics,
        executor: Executor,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.topic = settings.topics.clicks
        self.most = settings.worker.batch_max_events
        self.finished: dict[int, int] = {}
        self._link = link
        self._table = table
        self._computer = computer
        self._airspace = airspace
        self._topics = settings.topics
        self._overload = Overload(settings.overload, link.lag)
        self._control = control
        self._metrics = metrics
        self._executor = executor
        self._on_failure = on_failure
        self._attempts = Attempts(settings.worker.max_attempts, MAX_IN_FLIGHT + self.most)
        self._notes = Notes(link, table, self._attempts)
        self._failed = False
        self._blamed = False
        self._writing = False
        self._epoch = 0
        # What an event has cost lately, in seconds of CPU. The first guess is what one costs alone, with a large index.
        self._event_s = 0.0005
        self._expired_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._hurried = 0
        self._moved = asyncio.Event()

    # --- what the transport asks

    async def accept(self, records: Sequence[Incoming], still_ours: Callable[[], bool]) -> None:
        """Compute a batch and hand its lists to Kafka; return when the next batch may come."""
        try:
            await self._accept(records, still_ours)
        except Exception as error:
            self._fail(as_sentence(error, place_of(records)))

    async def settle(self) -> None:
        """Wait until all that was accepted is finished, unless this worker may not produce any more."""
        with self._hurry():
            while self._airspace and not self._failed and self._link.fresh:
                await self._wait()

    async def release(self) -> None:
        """Let go of all partitions, and forget what is on its way: they are read from their committed offsets again."""
        await self._notes.take_back(list(self._table.shards), write=self._link.fresh and not self._blamed)
        self._epoch += 1
        self._link.forget()
        self._writing = False
        self._airspace.clear()
        self.finished.clear()
        self._moved.set()

    def abandon(self, error: Exception) -> None:
        """Begin nothing more, and let nobody wait for what is on its way: the process is about to end by this error."""
        self._failed = True
        # What Kafka or a disk refuses is no event's fault; anything else may be the fault of one that is in hand.
        self._blamed = not isinstance(error, PublishError | BrokerError | TopicError | StateError)
        self._moved.set()

    # --- a batch

    async def _accept(self, records: Sequence[Incoming], still_ours: Callable[[], bool]) -> None:
        if not await self._may_go_on(still_ours):
            return
        if not self._attempts.free({record.partition for record in records}):
            records = await self._take_care(records, still_ours)
        if records and (outcome := await self._compute(records)) and await self._may_go_on(still_ours):
            self._launch(records, outcome)

    async def _compute(self, records: Sequence[Incoming]) -> Outcome:
        mode, wanted_since_ms = self._overload.plan()
        control = self._control()

        def compute() -> tuple[Outcome, float]:
            began = time.thread_time()
            outcome = self._computer.compute(records, control, mode, wanted_since_ms=wanted_since_ms)
            return outcome, time.thread_time() - began

        if len(records) * self._event_s > INLINE_S:
            outcome, spent_s = await asyncio.get_running_loop().run_in_executor(self._executor, compute)
        else:
            outcome, spent_s = compute()
        self._event_s += (spent_s / len(records) - self._event_s) / 16
        return outcome

    async def _may_go_on(self, still_ours: Callable[[], bool]) -> bool:
        """Wait until there is room and this worker may produce; tell whether the partitions are still its own."""
        while self._failed or not self._link.fresh or self._airspace.events >= MAX_IN_FLIGHT:
            if not still_ours():
                return False
            await self._wait()
        return still_ours()

    def _launch(self, records: Sequence[Incoming], outcome: Outcome) -> None:
        """Take step 1."""
        flight = Flight(records, outcome)
        self._airspace.begin(flight)
        arrived = partial(self._arrive, flight, self._epoch, time.perf_counter())
        if count := len(outcome.answers) + len(outcome.dead):
            self._link.write(answers(outcome, self._topics), Receipt(count, arrived))
        else:
            arrived(Receipt(0, arrived))

    def _arrive(self, flight: Flight, epoch: int, began: float, receipt: Receipt) -> None:
        """Step 1 is done for a flight."""
        if epoch != self._epoch or self._failed:
            return
        try:
            check(receipt)
            self._metrics.timers["emit"].observe(time.perf_counter() - began)
            flight.arrived_at = time.time()
            self._advance_in(0.0 if self._hurried else STORE_EVERY_S)
        except Exception as error:
            self._fail(error)

    def _advance_in(self, seconds: float) -> None:
        """Take step 2 soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._advance_or_fail)

    def _advance_or_fail(self) -> None:
        self._timer = None
        try:
            self._advance()
        except Exception as error:
            self._fail(error)

    def _advance(self) -> None:
        """Take step 2 for all that has arrived, unless the write before is still on its way."""
        if self._writing or self._failed:
            return
        if not self._link.fresh:
            self._advance_in(HELD_S)
            return
        flights, expired = self._airspace.arrivals(), list(self._expired())
        if not flights and not expired:
            return
        markers = self._missing_markers(flights)
        writing = Writing(flights, newest_states(flights), markers, expired, self._epoch, time.perf_counter())
        records = list(self._changes(writing))
        self._writing = True
        stored = partial(self._store, writing)
        if records:
            self._link.write_patiently(records, OffsetReceipt(records, stored))
        else:
            stored(OffsetReceipt([], stored))

    def _changes(self, writing: Writing) -> Iterator[Outgoing]:
        changelog = self._table.changelog_topic_name
        for partition, states in writing.states.items():
            for key, state in states.items():
                yield Outgoing(changelog, key, state, partition)
        for partition, marker in writing.markers.items():
            yield Outgoing(changelog, MARKER_KEY, marker, partition)
        for partition, sessions in writing.expired:
            for key, applied in sessions:
                yield Outgoing(changelog, key, None, partition, [(APPLIED_OFFSET_HEADER, str(applied).encode())])

    def _missing_markers(self, flights: Sequence[Flight]) -> dict[int, bytes]:
        partitions = {partition for flight in flights for partition in flight.ends}
        found = ((partition, self._table.missing_marker(partition)) for partition in partitions)
        return {partition: marker for partition, marker in found if marker is not None}

    def _store(self, writing: Writing, receipt: Receipt) -> None:
        """Take steps 3 and 4."""
        if writing.epoch != self._epoch or self._failed:
            return
        try:
            check(receipt)
            assert isinstance(receipt, OffsetReceipt)
            self._metrics.timers["changelog"].observe(time.perf_counter() - writing.began)
            followed = self._link.in_changelog(receipt)
            self._put(writing, followed)
            self._finish(writing.flights)
            self._writing = False
            self._moved.set()
            if self._airspace:
                self._advance_in(0.0 if self._hurried else STORE_EVERY_S)
        except Exception as error:
            self._fail(error)

    def _put(self, writing: Writing, followed: Mapping[int, int]) -> None:
        for partition, states in writing.states.items():
            self._table.shards[partition].store(states, followed.get(partition))
        for partition, marker in writing.markers.items():
            self._table.shards[partition].note(MARKER_KEY, marker, followed.get(partition))
        for partition, sessions in writing.expired:
            gone = self._table.shards[partition].remove_many(sessions, followed.get(partition))
            self._metrics.expired.inc(gone)
        self._airspace.land(writing.flights, writing.states)

    def _finish(self, flights: Sequence[Flight]) -> None:
        for flight in flights:
            for partition, end in flight.ends.items():
                self.finished[partition] = end
                self._attempts.finished(partition, end)
            self._metrics.count_batch(flight.tally, flight.arrived_at)

    # --- events that workers have died of (`stream.state.attempts`)

    async def _take_care(self, records: Sequence[Incoming], still_ours: Callable[[], bool]) -> list[Incoming]:
        """Serve alone what must be, write down what must be; return the records that may go on as usual."""
        usual: list[Incoming] = []
        first: dict[int, bytes] = {}
        if not await self._nothing_in_flight(still_ours):
            return []
        for partition in {record.partition for record in records}:
            waiting = [record for record in records if record.partition == partition]
            self._notes.meet(partition, waiting[0].offset)
            while waiting:
                plan = self._attempts.plan(partition, [record.offset for record in waiting])
                if not plan.careful:
                    if plan.record is not None:
                        first[partition] = plan.record
                    usual += waiting
                    break
                if not await self._serve_alone(partition, waiting[: plan.take], plan, still_ours):
                    return []
                waiting = waiting[plan.take :]
        await self._notes.write(first)
        return usual

    async def _serve_alone(
        self, partition: int, records: list[Incoming], plan: AttemptPlan, still_ours: Callable[[], bool]
    ) -> bool:
        """Serve events with nothing else in the process, and commit them; tell whether they are this worker's still."""
        if plan.rehearse:
            self._computer.warm_up()
            await asyncio.sleep(REHEARSAL_S)
        if plan.record is not None:
            await self._notes.write({partition: plan.record})
        outcome = condemned(records[0]) if plan.condemned else await self._compute(records)
        if not await self._may_go_on(still_ours):
            return False
        self._launch(records, outcome)
        if not await self._nothing_in_flight(still_ours):
            return False
        end = records[-1].offset + 1
        while self._link.committed(partition) < end and still_ours():
            # A commit of the timer's that is under way may hold less, and this call then only waits for it.
            await self._link.commit()
            await asyncio.sleep(0)
        self._attempts.finished(partition, end)
        return still_ours()

    async def _nothing_in_flight(self, still_ours: Callable[[], bool]) -> bool:
        with self._hurry():
            while self._airspace and not self._failed and still_ours():
                await self._wait()
        return await self._may_go_on(still_ours)

    # --- beside the batches

    def _expired(self) -> Iterator[Expired]:
        """Give sessions that have been silent for long: from the changelog they leave first, then from the table.

        Of every partition, not only of those in the batch: a quiet one would hardly ever have an event in the batch
        that comes when it is time to look. A session that is on its way has just been heard of.
        """
        if time.monotonic() - self._expired_at < EXPIRE_EVERY_S:
            return
        more, room = False, EXPIRE_AT_MOST
        for partition, shard in self._table.shards.items():
            found, complete = self._table.expired(shard, self._link.committed(partition), room)
            more |= not complete
            room -= len(found)
            if silent := [(key, applied) for key, applied in found if (partition, key) not in self._airspace]:
                yield Expired(partition, silent)
        if not more:  # else it is looked again with the next write
            self._expired_at = time.monotonic()

    @contextlib.contextmanager
    def _hurry(self) -> Iterator[None]:
        """Write states as soon as they may be: somebody waits for them after all, or several do."""
        self._hurried += 1
        if self._timer is not None:
            self._timer.cancel()
            self._advance_or_fail()
        try:
            yield
        finally:
            self._hurried -= 1

    async def _wait(self) -> None:
        """Wait for a write to end, or a moment: nobody tells when the membership changes."""
        self._moved.clear()
        try:
            async with asyncio.timeout(HELD_S):
                await self._moved.wait()
        except TimeoutError:
            pass

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self._moved.set()
        self._on_failure(error)
