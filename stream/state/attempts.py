"""Finding the event that kills every process that touches it, without blaming one that was there when another did.

A segmentation fault, a memory limit, a loop without end: nothing is left to catch, and the next worker reads the same
event again. So a worker writes down in the partition's changelog, under a key of its own, what it is about to compute:

- Before its first batch of a partition it writes that it is `running`, and takes that back when it lets go of the
  partition in good order. Whoever finds it knows that the one before died with events in hand, all before `until`.
- The first time this means little: processes are killed for many reasons. Its successor serves as usual.
- Where two in a row have died before `until`, the third is careful: it serves pieces of about the square root of the
  stretch, each alone in the process, each written down before and committed after. The piece that a worker dies of is
  tried event by event by the next one. From `until` on everything is as usual again.
- An event that has ended `worker.max_attempts` processes, each time alone, is not computed again: a dead letter.

So a click that kills ends `3 + worker.max_attempts` processes at most. A worker that is killed at random is careful for
about twice the square root of what was in hand, in acknowledgements. To condemn an innocent event somebody must kill,
time after time, in the very milliseconds in which it is tried alone; and before an event is tried alone again, the
worker makes a list for nobody, so that one that cannot make any does not blame the event.

What was in hand: at most `in_flight` events beyond those that the states have already, and none that the topic had not.
"""

import logging
import uuid
from collections.abc import Iterable, Sequence
from math import isqrt
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from serving.errors import StateError

# Not UTF-8, so it is never the key of a session.
ATTEMPT_KEY = b"\xffattempt"
# So many processes must have died in a row before the next one is careful.
PATIENCE = 2
LOG = logging.getLogger(__name__)


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is stored under `ATTEMPT_KEY`.

    While `running`, a process has the events from `offset` to before `end` in hand; where `end` is 0, whatever comes.
    `died` processes in a row have died of one before `until`. Those before `alone_until` are tried one by one, and the
    one at `suspect` has ended `ended` processes so far. `owner` names the process that wrote it.
    """

    owner: str = ""
    running: bool = False
    offset: int = 0
    end: int = 0
    died: int = 0
    until: int = 0
    alone_until: int = 0
    suspect: int = -1
    ended: int = 0


class Plan(NamedTuple):
    """What may be done with the next events of a partition.

    Attributes:
        take: how many of them may go into the next batch.
        record: what must be stored under `ATTEMPT_KEY`, and acknowledged, before they are computed; None: nothing.
        careful: nothing else may be in hand, of any partition, from before the record is written until the events are
            committed.
        rehearse: make a list for nobody first, before the record is written.
        condemned: the one event that is taken becomes a dead letter (`kills_worker`) and is not computed.

    """

    take: int
    record: bytes | None = None
    careful: bool = False
    rehearse: bool = False
    condemned: bool = False


def read_attempt(value: bytes) -> Attempt:
    """Read what is stored under `ATTEMPT_KEY`.

    Raises:
        StateError: no worker wrote it.

    """
    try:
        return msgspec.json.decode(value, type=Attempt)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the changelog's record of what its last worker had in hand cannot be read ({error}): no worker wrote it; "
            "delete the changelog and run `nextclick topics create`, or set worker.app_id to a new name"
        ) from error


class Attempts:
    """What the pipeline asks before it computes events, for all partitions of a worker.

    Args:
        max_attempts: processes that an event must have ended, alone, to be condemned.
        in_flight: events that a worker has in hand at most, of one partition.

    """

    def __init__(self, max_attempts: int, in_flight: int) -> None:
        self._max_attempts = max_attempts
        self._in_flight = in_flight
        self._owner = uuid.uuid4().hex
        self._partitions: dict[int, _Partition] = {}
        self._free: set[int] = set()

    def free(self, partitions: Iterable[int]) -> bool:
        """Tell whether these partitions need no plan: nothing is to be written first, no care to be taken."""
        return self._free.issuperset(partitions)

    def __contains__(self, partition: int) -> bool:
        return partition in self._partitions

    def begin(self, partition: int, first: int, found: Attempt | None, newest: int, log_end: int | None) -> None:
        """Begin with a partition, before its first plan.

        Args:
            partition: its number.
            first: the offset of the first event that was read of it, before which the group's commit never was.
            found: what stood under `ATTEMPT_KEY` when its states were recovered.
            newest: the highest applied offset of its states, -1 where there is none.
            log_end: the offset that the next event will get, None where that is not known.

        """
        if found is not None and found.owner == self._owner:
            # We lost the partition without knowing it, and have got it back. Nobody died.
            found = replace(found, running=False)
        reach = max(first, newest + 1) + self._in_flight
        attempt = _after(found or Attempt(), first, reach if log_end is None else min(reach, log_end))
        self._partitions[partition] = _Partition(partition, first, attempt)
        self._free.discard(partition)
        if attempt.died:
            LOG.warning(
                "workers died with events in hand partition=%d offset=%d until=%d died=%d",
                *(partition, first, attempt.until, attempt.died),
            )

    def plan(self, partition: int, offsets: Sequence[int]) -> Plan:
        """Return what may be done with the next events of a partition, at least one, given by their offsets.

        While nothing of the plan is done, the same is planned again.
        """
        if partition in self._free:
            return Plan(len(offsets))
        state = self._partitions[partition]
        if state.careful and offsets[0] >= state.attempt.until:  # the stretch ended with offsets that hold no event
            state.clear()
        if state.careful:
            return self._careful_plan(state, offsets)
        return Plan(len(offsets), None if state.recorded else self._running(state, state.first))

    def _careful_plan(self, state: "_Partition", offsets: Sequence[int]) -> Plan:
        first, attempt = offsets[0], state.attempt
        suspected = attempt.suspect == first
        if suspected and attempt.ended >= self._max_attempts:
            LOG.error(
                "event is given up partition=%d offset=%d processes_ended=%d", state.partition, first, attempt.ended
            )
            return Plan(1, careful=True, condemned=True)
        alone = suspected or first < attempt.alone_until
        most = 1 if alone else max(1, isqrt(attempt.until - first))
        take = sum(offset < attempt.until for offset in offsets[:most])
        record = self._running(state, first, offsets[take - 1] + 1)
        return Plan(take, record, careful=True, rehearse=suspected)

    def _running(self, state: "_Partition", offset: int, end: int = 0) -> bytes:
        return msgspec.json.encode(replace(state.attempt, owner=self._owner, running=True, offset=offset, end=end))

    def handed_over(self, partitions: Iterable[int]) -> None:
        """Note that records for these are on their way: from now on they must be taken back."""
        for partition in partitions:
            if partition in self._partitions:
                self._partitions[partition].touched = True

    def recorded(self, partition: int) -> None:
        """Note that the record of this partition's last plan was acknowledged."""
        state = self._partitions[partition]
        state.recorded = True
        if not state.careful:
            self._free.add(partition)

    def finished(self, partition: int, next_offset: int) -> None:
        """Note that all events before that offset are finished; where the plan was a careful one, committed."""
        state = self._partitions.get(partition)
        if state is not None and state.suspicious and next_offset >= state.attempt.until:
            state.clear()
            self._free.discard(partition)

    def released(self, partitions: Iterable[int]) -> dict[int, bytes | None]:
        """Let go of partitions in good order, or after a failure that is known to be no event's.

        Returns what must then be stored under `ATTEMPT_KEY`, by partition; None deletes it.
        """
        records: dict[int, bytes | None] = {}
        for partition in partitions:
            state = self._partitions.pop(partition, None)
            self._free.discard(partition)
            if state is not None and state.touched:
                records[partition] = msgspec.json.encode(state.attempt) if state.suspicious else None
        return records


class _Partition:
    """What is known about one partition. `attempt` is what would be written if it were let go of now."""

    def __init__(self, partition: int, first: int, attempt: Attempt) -> None:
        self.partition = partition
        self.first = first
        self.attempt = attempt
        self.recorded = False
        """Whether the changelog says that this process is at it."""
        self.touched = False
        """Whether this process has sent anything that must be taken back, acknowledged or not."""

    @property
    def suspicious(self) -> bool:
        return self.attempt.died > 0

    @property
    def careful(self) -> bool:
        return self.attempt.died >= PATIENCE

    def clear(self) -> None:
        """Forget the suspicion, which the changelog must be told."""
        LOG.warning(
            "events that workers died with are passed partition=%d until=%d", self.partition, self.attempt.until
        )
        self.attempt = Attempt()
        self.recorded = False


def _after(found: Attempt, first: int, reach: int) -> Attempt:
    """Return what is known at the first event that was not committed, of an attempt that may have been cut short.

    An offset before the attempt's own means that somebody has set the group back: what was in hand is long past.
    """
    known, until = replace(found, owner="", running=False, offset=first, end=0), found.until
    if found.running and found.end == 0:
        until = max(until, reach)
        known = replace(known, died=found.died + 1, until=until)
    elif found.running and first < found.end:
        if found.end == found.offset + 1:
            ended = found.ended + 1 if found.suspect == found.offset else 1
            known = replace(known, suspect=found.offset, ended=ended)
        else:
            known = replace(known, alone_until=found.end)
    return known if found.offset <= first < until else Attempt()
