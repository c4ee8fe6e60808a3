"""Kafka as a worker sees it: logs of records, and one consumer group with its members, generations and commits."""

import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    MemberIdRequired,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.stream.simulation.clock import Clock

START_MS = 1_700_000_000_000
"""The broker's time at the beginning."""

Headers = Sequence[tuple[str, bytes | None]]
Content = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers."""
Place = tuple[str, int]
Reply = Callable[..., None]
"""Answers a request with the fields of the response."""


class Stored(NamedTuple):
    """A record in a log."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    batch_at: int
    """The first offset of the batch that it came in."""


@dataclass
class Log:
    """A partition."""

    records: list[Stored] = field(default_factory=list)
    start: int = 0
    end: int = 0

    def append(self, timestamp_ms: int, records: Sequence[Content]) -> list[int]:
        """Add a batch and return the offsets."""
        batch_at = self.end
        for key, value, headers in records:
            self.records.append(Stored(self.end, timestamp_ms, key, value, headers, batch_at))
            self.end += 1
        return list(range(batch_at, self.end))

    def since(self, offset: int, most: int) -> list[Stored]:
        """Return records from an offset on."""
        low, high = 0, len(self.records)
        while low < high:
            middle = (low + high) // 2
            if self.records[middle].offset < offset:
                low = middle + 1
            else:
                high = middle
        return self.records[low : low + most]

    def delete_before(self, offset: int) -> None:
        """Do what retention does."""
        self.start = offset
        self.records = [record for record in self.records if record.offset >= offset]


def as_batch(records: Sequence[Stored]) -> bytes:
    """Write records as Kafka keeps them."""
    if not records:
        return b""
    base = records[0].offset
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 26)
    for record in records:
        headers = list(record.headers)
        assert builder.append(record.offset - base, record.timestamp_ms, record.key, record.value, headers)
    batch = bytearray(builder.build())
    struct.pack_into(">q", batch, 0, base)
    return bytes(batch)


@dataclass
class Member:
    """A member of the group."""

    id: str
    session_s: float
    rebalance_s: float
    instance: str | None
    metadata: bytes = b""
    protocol: str = ""
    seen: int = 0
    """Counts what was heard of it; a timer that finds it unchanged drops the member."""
    joining: Reply | None = None
    syncing: Reply | None = None


class Group:
    """The consumer group's coordinator.

    States as in Kafka: empty, joining (PreparingRebalance), syncing (CompletingRebalance), stable.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names = 0
        self._pending: set[str] = set()
        self.members: dict[str, Member] = {}
        self.state = "empty"
        self.generation = 0
        self.assignments: dict[str, bytes] = {}
        self.committed: dict[Place, int] = {}
        self.metadata: dict[Place, str] = {}
        """What the commits say beside their offsets."""
        self.on_commit: Callable[[dict[Place, int]], None] = lambda offsets: None
        self.refuse_commits = 0
        """How many commits are to be refused as if the group were rebalancing."""
        self.forbidden: set[str] = set()
        """Of `join` and `commit`, what the worker may not do."""
        self.refused = 0
        """How many commits were."""

    @property
    def joining(self) -> bool:
        """Whether it waits for members."""
        return self.state in {"joining", "syncing"}

    def join(self, request: Any, reply: Reply) -> None:
        """Take a member into the next generation."""
        if "join" in self.forbidden:
            reply(error_code=GroupAuthorizationFailedError.errno, member_id="")
            return
        member = self.members.get(request.member_id)
        if request.member_id and member is None and request.member_id not in self._pending:
            reply(error_code=UnknownMemberIdError.errno, member_id="")
            return
        if not request.member_id and not request.group_instance_id:
            # Nobody is a member before it has heard its name: an answer that is lost leaves no ghost.
            reply(error_code=MemberIdRequired.errno, member_id=self._new_name())
            return
        if member is None:
            member = self._new_member(request)
        name, metadata = request.group_protocols[0]
        if request.group_instance_id and self.state == "stable" and member.id in self.assignments:
            # A static member that returns gets its assignment back, and nobody is disturbed.
            self._hear(member)
            reply(**self._joined(member, leads=False))
            return
        member.protocol, member.metadata, member.joining = name, metadata, reply
        self._hear(member)
        if self.state != "joining":
            self._rebalance()
        self._complete_join()

    def _new_name(self) -> str:
        self._names += 1
        name = f"member-{self._names}"
        self._pending.add(name)
        return name

    def _new_member(self, request: Any) -> Member:
        member = Member(
            request.member_id or self._new_name(),
            request.session_timeout / 1000,
            request.rebalance_timeout / 1000,
            request.group_instance_id,
        )
        self._pending.discard(member.id)
        before = next((m for m in self.members.values() if m.instance and m.instance == member.instance), None)
        if before is not None:
            del self.members[before.id]
            member.metadata, member.protocol = before.metadata, before.protocol
            if before.id in self.assignments:
                self.assignments[member.id] = self.assignments.pop(before.id)
        self.members[member.id] = member
        return member

    def _rebalance(self) -> None:
        self.state = "joining"
        for member in self.members.values():
            if member.syncing is not None:
                member.syncing(error_code=RebalanceInProgressError.errno, member_assignment=b"")
                member.syncing = None
        generation = self.generation
        patience_s = max((member.rebalance_s for member in self.members.values()), default=0.0)
        self._clock.after(patience_s, lambda: self._give_up_waiting(generation))

    def _give_up_waiting(self, generation: int) -> None:
        if self.state == "joining" and self.generation == generation:
            for member in [member for member in self.members.values() if member.joining is None]:
                del self.members[member.id]
            self._complete_join()

    def _complete_join(self) -> None:
        if self.state != "joining" or any(member.joining is None for member in self.members.values()):
            return
        self.generation += 1
        self.assignments.clear()
        self.state = "syncing" if self.members else "empty"
        for member in self.members.values():
            reply, member.joining = member.joining, None
            assert reply is not None
            self._hear(member)
            reply(**self._joined(member, leads=member is self._leader))

    @property
    def _leader(self) -> Member:
        return next(iter(self.members.values()))

    def _joined(self, member: Member, *, leads: bool) -> dict[str, Any]:
        others = [(m.id, m.instance, m.metadata) for m in self.members.values()] if leads else []
        return {
            "error_code": 0,
            "generation_id": self.generation,
            "group_protocol": self._leader.protocol,
            "leader_id": self._leader.id if leads else "somebody",
            "member_id": member.id,
            "members": others,
        }

    def sync(self, request: Any, reply: Reply) -> None:
        """Take the leader's assignment, and give each member its own."""
        if error := self._stranger(request.member_id, request.generation_id):
            reply(error_code=error, member_assignment=b"")
            return
        member = self.members[request.member_id]
        self._hear(member)
        if self.state == "joining":
            reply(error_code=RebalanceInProgressError.errno, member_assignment=b"")
            return
        member.syncing = reply
        if request.group_assignment:
            self.assignments = dict(request.group_assignment)
            self.state = "stable"
        if self.state == "stable":
            for waiting in self.members.values():
                if waiting.syncing is not None:
                    waiting.syncing(error_code=0, member_assignment=self.assignments.get(waiting.id, b""))
                    waiting.syncing = None

    def heartbeat(self, request: Any, reply: Reply) -> None:
        """Hear that a member lives."""
        if error := self._stranger(request.member_id, request.generation_id):
            reply(error_code=error)
            return
        self._hear(self.members[request.member_id])
        reply(error_code=RebalanceInProgressError.errno if self.state == "joining" else 0)

    def leave(self, request: Any, reply: Reply) -> None:
        """Let a member go."""
        self._drop(request.member_id)
        reply(error_code=0)

    def commit(self, request: Any, reply: Reply) -> None:
        """Take a member's offsets."""
        error = self._stranger(request.consumer_id, request.consumer_group_generation_id)
        if not error and (self.state == "syncing" or self.refuse_commits):
            self.refuse_commits = max(0, self.refuse_commits - 1)
            error = RebalanceInProgressError.errno
        if "commit" in self.forbidden:
            error = GroupAuthorizationFailedError.errno
        if error:
            self.refused += 1
        else:
            offsets = {(topic, number): offset for topic, found in request.topics for number, offset, _ in found}
            self.metadata |= {(topic, number): text for topic, found in request.topics for number, _, text in found}
            self.on_commit(offsets)
            self.committed |= offsets
            self._hear(self.members[request.consumer_id])
        reply(topics=[(topic, [(number, error) for number, _, _ in found]) for topic, found in request.topics])

    def _stranger(self, member_id: str, generation: int) -> int:
        if member_id not in self.members:
            return int(UnknownMemberIdError.errno)
        return int(IllegalGenerationError.errno) if generation != self.generation else 0

    def _hear(self, member: Member) -> None:
        member.seen += 1
        seen = member.seen
        self._clock.after(member.session_s, lambda: self._miss(member, seen))

    def _miss(self, member: Member, seen: int) -> None:
        if member.seen == seen and member.joining is None and self.members.get(member.id) is member:
            self._drop(member.id)

    def _drop(self, member_id: str) -> None:
        if self.members.pop(member_id, None) is not None:
            if self.state != "joining":
                self._rebalance()
            self._complete_join()


class Broker:
    """Topics, and the group that reads them.

    Args:
        clock: the world's.
        topics: their names and numbers of partitions.

    """

    def __init__(self, clock: Clock, topics: dict[str, int]) -> None:
        self.clock = clock
        self.topics = topics
        self.logs: dict[Place, Log] = {(topic, n): Log() for topic, count in topics.items() for n in range(count)}
        self.group = Group(clock)
        self.up = True
        self.ahead_ms = 0
        """How far its time, and that of the visitors, has jumped."""
        self.fetch_most = 500
        """Records of a partition in one fetch at most."""
        self.short_ends = False
        """Whether ListOffsets answers like Tansu: with the first offset of the last batch, plus one."""
        self.waits_ms: set[int] = set()
        """How long fetches asked to be held."""
        self.refusals: dict[str, Callable[[Any], int | None]] = {}
        """By topic: which error, if any, a record is refused with."""
        self._waiting: dict[Place, list[Callable[[], None]]] = defaultdict(list)

    @property
    def now_ms(self) -> int:
        """The broker's time."""
        return START_MS + self.ahead_ms + round(self.clock.now * 1000)

    def append(self, topic: str, partition: int, records: Sequence[Content]) -> list[int]:
        """Write records and return their offsets; whoever waits for them is told."""
        offsets = self.logs[topic, partition].append(self.now_ms, records)
        for wake in self._waiting.pop((topic, partition), []):
            wake()
        return offsets

    # --- what aiokafka asks, by the name of the request

    def answer(self, request: Any, reply: Reply) -> None:
        """Answer a request, now or later."""
        name = type(request).__name__.partition("Request_")[0]
        {
            "Metadata": self._metadata,
            "FindCoordinator": lambda request, reply: reply(error_code=0, coordinator_id=COORDINATOR, host="", port=0),
            "JoinGroup": self.group.join,
            "SyncGroup": self.group.sync,
            "Heartbeat": self.group.heartbeat,
            "LeaveGroup": self.group.leave,
            "OffsetCommit": self.group.commit,
            "OffsetFetch": self._offset_fetch,
            "Offset": self._list_offsets,
            "Fetch": self._fetch,
        }[name](request, reply)

    def _metadata(self, request: Any, reply: Reply) -> None:
        nodes = [(node, host, 9092, None) for node, host in NODES.items()]
        topics = [
            (0, topic, False, [(0, number, LEADER, [LEADER], [LEADER]) for number in range(count)])
            for topic, count in self.topics.items()
        ]
        reply(brokers=nodes, controller_id=LEADER, topics=topics)

    def _offset_fetch(self, request: Any, reply: Reply) -> None:
        def found(topic: str, number: int) -> tuple[int, int, str, int]:
            place = topic, number
            return number, self.group.committed.get(place, -1), self.group.metadata.get(place, ""), 0

        reply(topics=[(topic, [found(topic, number) for number in numbers]) for topic, numbers in request.topics])

    def _list_offsets(self, request: Any, reply: Reply) -> None:
        def found(topic: str, number: int, timestamp: int) -> tuple[int, int, int, int]:
            log = self.logs[topic, number]
            end = log.records[-1].batch_at + 1 if self.short_ends and log.records else log.end
            return number, 0, -1, log.start if timestamp == -2 else end

        reply(topics=[(topic, [found(topic, number, at) for number, at in asked]) for topic, asked in request.topics])

    def _fetch(self, request: Any, reply: Reply) -> None:
        wanted = [((topic, number), offset) for topic, found in request.topics for number, offset, _ in found]
        self.waits_ms.add(request.max_wait_time)
        answered = False

        def send() -> None:
            nonlocal answered
            if not answered:
                answered = True
                reply(throttle_time_ms=0, topics=self._found(wanted))

        if any(not self._empty(place, offset) for place, offset in wanted):
            send()
            return
        for place, _ in wanted:
            self._waiting[place].append(send)
        self.clock.after(request.max_wait_time / 1000, send)

    def _empty(self, place: Place, offset: int) -> bool:
        return place in self.logs and self.logs[place].end == offset

    def _found(self, wanted: Sequence[tuple[Place, int]]) -> list[tuple[str, list[Any]]]:
        topics: dict[str, list[Any]] = defaultdict(list)
        for (topic, number), offset in wanted:
            log = self.logs.get((topic, number))
            if log is None:
                topics[topic].append((number, UnknownTopicOrPartitionError.errno, -1, -1, [], b""))
            elif not log.start <= offset <= log.end:
                topics[topic].append((number, OffsetOutOfRangeError.errno, -1, -1, [], b""))
            else:
                found = as_batch(log.since(offset, self.fetch_most))
                topics[topic].append((number, 0, log.end, log.end, [], found))
        return list(topics.items())


LEADER, COORDINATOR = 0, 1
NODES = {LEADER: "leader", COORDINATOR: "coordinator"}
