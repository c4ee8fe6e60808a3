"""The clicks of a round: some thousand live sessions, and everything that makes a stream of clicks difficult.

Sessions get clicks at random, so that many fall silent for longer than the session gap and come back; a few are busy
all the time; some end and are replaced. Event times are up to `LATENESS_MS` behind. Events are sent twice, soon after
the first time. Visitors have not consented, their clocks are decades off, their keys are sent to partitions by another
rule than murmur2. Between them stands what is no click at all.

What the stream does not do is what `docs/events.md` leaves open: it repeats an event only while its session still
knows it, and lets no visitor's clock be wrong twice in a row.
"""

import heapq
import itertools
import json
import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from serving.events import Click, encode_click

# What a round's workers are told; the margins between these are what makes the oracle's answer the only right one. The
# grace is longer than an outage of the broker: clicks that wait in the generator for so long are that late.
SESSION_GAP_S = 4.0
EXPIRY_GRACE_S = 20.0
SESSION_LENGTH = 12
LATENESS_MS = 1_500
REPEATED_WITHIN_MS = 2_000

# Begin the ids of the events: of a topic's first life, and of its second where it is deleted and created again.
FIRST_PHASE, SECOND_PHASE = "a", "b"

SESSIONS = 3_000
BUSY = 40
ITEMS = 55  # of which the tiny bundle knows 50
DEADLY_ITEM = "deadly"
FAR_FUTURE_MS = 9_000_000_000_000  # the year 2255

Headers = list[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """A record to send; without a partition the key's murmur2 decides."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


class _Sent(NamedTuple):
    at_ms: int
    record: Outgoing


class _Session:
    def __init__(self, identity: str, partition: int | None) -> None:
        self.id = identity
        self.partition = partition
        self.sent: deque[_Sent] = deque(maxlen=2)


class ClickStream:
    """An endless stream, the same for the same seed and the same clock.

    Args:
        seed: of everything that is drawn.
        phase: begins the ids of the events; two streams of one seed have the same sessions.
        partitions: of the clicks topic.

    """

    def __init__(self, seed: int, phase: str, partitions: int) -> None:
        self._random = random.Random(f"{seed}/{phase}")
        self._phase = phase
        self._partitions = partitions
        self._born = itertools.count()
        self._events = itertools.count()
        self._sessions = [self._new_session() for _ in range(SESSIONS)]
        # Clicks of visitors whose clock is wrong, by when they are due.
        self._later: list[tuple[int, str, Outgoing]] = []

    def next(self, now_ms: int) -> Outgoing:
        """Return what is sent at this time."""
        if self._later and self._later[0][0] <= now_ms:
            return heapq.heappop(self._later)[2]
        roll = self._random.random()
        if roll < 0.03:
            return self.poison(now_ms)
        if roll < 0.035:
            return self._visitor_with_a_wrong_clock(now_ms)
        session = self._sessions[self._random.randrange(BUSY if roll < 0.15 else SESSIONS)]
        if roll > 0.96 and session.sent and now_ms - session.sent[0].at_ms < REPEATED_WITHIN_MS:
            return session.sent[0].record
        record = self._click(session, now_ms - self._lateness())
        session.sent.append(_Sent(now_ms, record))
        if roll > 0.955:
            self._sessions[self._random.randrange(BUSY, SESSIONS)] = self._new_session()
        return record

    def deadly(self, now_ms: int) -> Outgoing:
        """Return a click that kills a `deadly_worker`, in a session like others."""
        session = self._sessions[self._random.randrange(BUSY)]
        return _plain(self._make(session, now_ms, DEADLY_ITEM), session.partition)

    def poison(self, now_ms: int) -> Outgoing:
        """Return a record that is no click, under the key of a live session where it has one."""
        session = self._sessions[self._random.randrange(SESSIONS)]
        good = _plain(self._make(session, now_ms), session.partition)
        return self._random.choice(POISON)(good, self._random)

    def _new_session(self) -> _Session:
        number = next(self._born)
        identity = f"s{number}" if number % 10 else f"s{number}-žluťoučký-🐎"
        foreign = crc32(identity.encode()) % self._partitions if number % 50 == 7 else None
        return _Session(identity, foreign)

    def _lateness(self) -> int:
        return self._random.randrange(LATENESS_MS) if self._random.random() < 0.1 else 0

    def _make(self, session: _Session, timestamp_ms: int, item_id: str | None = None) -> Click:
        random = self._random
        return Click(
            event_id=f"{self._phase}{next(self._events)}",
            session_id=session.id,
            item_id=item_id or f"i{random.randint(1, ITEMS)}",
            timestamp_ms=timestamp_ms,
            event_type=random.choice(("view", "view", "view", "add_to_cart", "purchase")),
            consent=False if random.random() < 0.01 else None,
            context={"page": "x" * 150_000} if random.random() < 0.0005 else None,
        )

    def _click(self, session: _Session, timestamp_ms: int) -> Outgoing:
        click, roll = self._make(session, timestamp_ms), self._random.random()
        if roll < 0.08:
            return _as_cloudevent(click, session.partition, structured=True)
        if roll < 0.16:
            return _as_cloudevent(click, session.partition, structured=False)
        return _plain(click, session.partition)

    def _visitor_with_a_wrong_clock(self, now_ms: int) -> Outgoing:
        """Return the first of three clicks, one of which has a time that cannot be; the others are due later."""
        session = self._new_session()
        due = [now_ms, now_ms + 300, now_ms + 600]
        times = list(due)
        wrong_ms = self._random.choice((0, 1, now_ms - 3_600_000, now_ms + 3_600_000, FAR_FUTURE_MS, 2**53 - 1))
        times[self._random.randrange(2)] = wrong_ms
        first, *later = (_plain(self._make(session, ms), session.partition) for ms in times)
        for due_ms, record in zip(due[1:], later, strict=True):
            heapq.heappush(self._later, (due_ms, f"{session.id}/{due_ms}", record))
        return first


def _plain(click: Click, partition: int | None) -> Outgoing:
    return Outgoing(click.session_id.encode(), encode_click(click), [], partition)


def _as_cloudevent(click: Click, partition: int | None, *, structured: bool) -> Outgoing:
    data = json.loads(encode_click(click))
    del data["event_id"]
    headers = {"ce_specversion": "1.0", "ce_id": click.event_id, "ce_source": "/shop", "ce_type": "click"}
    value = data
    if structured:
        value = {"specversion": "1.0", "id": click.event_id, "source": "/shop", "type": "click", "data": data}
        headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    encoded = [(name, text.encode()) for name, text in headers.items()]
    return Outgoing(click.session_id.encode(), json.dumps(value).encode(), encoded, partition)


def _without(good: Outgoing, field: str) -> bytes:
    fields = json.loads(good.value or b"")
    del fields[field]
    return json.dumps(fields).encode()


POISON: list[Callable[[Outgoing, random.Random], Outgoing]] = [
    lambda good, _: good._replace(value=None),
    lambda good, _: good._replace(value=b"hello"),
    lambda good, _: good._replace(value=bytes(range(256)), headers=[("trace", b"\xff")]),
    lambda good, rng: good._replace(value=good.value and good.value[: rng.randrange(1, 60)]),
    lambda good, _: good._replace(value=b'{"context":' + b'{"a":' * 20_000),
    lambda good, _: good._replace(value=b"[1, 2]"),
    lambda good, _: good._replace(value=b"{}"),
    lambda good, rng: good._replace(value=_without(good, rng.choice(("event_id", "session_id", "item_id")))),
    lambda good, _: good._replace(value=good.value and good.value.replace(b'"timestamp_ms":', b'"timestamp_ms":-')),
    lambda good, _: good._replace(key=None),
    lambda good, _: good._replace(key=b"somebody-else"),
    lambda good, _: good._replace(headers=[("content-type", b"application/avro")]),
    lambda good, _: good._replace(headers=[("ce_specversion", b"0.3")]),
    lambda good, rng: good._replace(value=b"x" * (900_000 if rng.random() < 0.05 else 2_000)),
]
