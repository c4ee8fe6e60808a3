"""A session: its state, how clicks fold into it, and which part of it an encoder reads. Once, for online and offline.

The order of a session is the order of its log: clicks are never sorted here. Only the gap looks at event times.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Self

import msgspec

from serving.errors import StateError
from serving.events import Click

# First byte of a stored state. A newer worker reads the older formats; an older worker refuses the newer.
STATE_FORMAT = 2
HASH_BYTES = 8
_TIME = struct.Struct("<q")


class Interaction(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One event of a session, as far as a list depends on it."""

    item_id: str
    event_type: str
    timestamp_ms: int
    event_hash: int


class Carried(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An encoder's state after the session's newest event: a cache, bit-equal to reading the session again.

    `start` is the event of the session (from 0) at which the reading began, `state` float32 little-endian.
    """

    bundle: str
    start: int
    state: bytes


class SessionState(msgspec.Struct, array_like=True, gc=False):
    """All that is kept of one session: one entry of the session table.

    `applied_offset` is the source offset of its newest event, `last_ms` its clock (`session_clock`), `seen_ms` the
    latest event time clamped to the broker's timestamps (for expiry), `count` the number of events since the session
    began, of which the last ones are kept, and `last_list` the items of the list shown last.

    The events are kept in columns, oldest first, that a click only adds to: `items` and `types` have a line for each
    (`join_lines`), `times` and `hashes` eight bytes. Nothing is taken apart but what is looked at, so a click costs the
    same in a long session as in a short one. `last_list` is in lines too.
    """

    applied_offset: int = -1
    last_ms: int = 0
    seen_ms: int = 0
    count: int = 0
    items: str = ""
    types: str = ""
    times: bytes = b""
    hashes: bytes = b""
    last_list: str = ""
    last_list_bundle: str = ""
    carried: list[Carried] = msgspec.field(default_factory=list)

    @classmethod
    def of(cls, interactions: Sequence[Interaction], **fields: Any) -> Self:
        """Return the state that keeps these events; the other fields by name."""
        return cls(
            items=join_lines(event.item_id for event in interactions),
            types=join_lines(event.event_type for event in interactions),
            times=b"".join(_TIME.pack(event.timestamp_ms) for event in interactions),
            hashes=b"".join(hash_bytes(event.event_hash) for event in interactions),
            **fields,
        )

    @property
    def interactions(self) -> list[Interaction]:
        """The events that are kept, oldest first."""
        kept = len(self.hashes) // HASH_BYTES
        items, types = last_lines(self.items, kept), last_lines(self.types, kept)
        times = [time for (time,) in _TIME.iter_unpack(self.times)]
        hashes = [int.from_bytes(self.hashes[at : at + HASH_BYTES]) for at in range(0, len(self.hashes), HASH_BYTES)]
        return [Interaction(*event) for event in zip(items, types, times, hashes, strict=True)]

    def fold(self, click: Click, broker_timestamp_ms: int, length: int, gap_ms: float) -> bool:
        """Apply a click, and tell whether it is new: a duplicate changes nothing, unless the session begins anew.

        Args:
            click: the event.
            broker_timestamp_ms: when the broker got it, which limits how late it can have happened.
            length: how many events are kept, and how far back a duplicate is recognised.
            gap_ms: the silence that ends a session.

        """
        timestamp_ms = click.timestamp_ms
        if self.count and is_new_session(self.last_ms, timestamp_ms, gap_ms):
            self.count = self.last_ms = self.seen_ms = 0
            self.items, self.types, self.times, self.hashes = "", "", b"", b""
        elif len(self.hashes) > length * HASH_BYTES:  # stored under another setting
            self._forget(len(self.hashes) // HASH_BYTES - length)
        event = hash_bytes(event_hash(click.event_id))
        if event in self.hashes and self.knows(event):
            return False
        self._append(click, event, length)
        self.count += 1
        self.last_ms = session_clock(self.last_ms, timestamp_ms, gap_ms)
        # min and max as functions cost more than all of this.
        happened_ms = timestamp_ms if timestamp_ms < broker_timestamp_ms else broker_timestamp_ms
        if happened_ms > self.seen_ms:
            self.seen_ms = happened_ms
        return True

    def knows(self, event: bytes) -> bool:
        """Tell whether an event of this hash, in bytes, is kept."""
        at = self.hashes.find(event)
        while at > 0 and at % HASH_BYTES:  # found where two hashes meet
            at = self.hashes.find(event, at + 1)
        return at >= 0

    def _append(self, click: Click, event: bytes, length: int) -> None:
        item, event_type = as_line(click.item_id), as_line(click.event_type)
        if not self.hashes:
            self.items, self.types, self.times, self.hashes = item, event_type, _TIME.pack(click.timestamp_ms), event
            return
        if len(self.hashes) == length * HASH_BYTES:
            self._forget(1)
        self.items = f"{self.items}\n{item}"
        self.types = f"{self.types}\n{event_type}"
        self.times += _TIME.pack(click.timestamp_ms)
        self.hashes += event

    def _forget(self, oldest: int) -> None:
        """Forget so many of the oldest events; some are left."""
        self.items = self.items.split("\n", oldest)[oldest]
        self.types = self.types.split("\n", oldest)[oldest]
        self.times = self.times[oldest * _TIME.size :]
        self.hashes = self.hashes[oldest * HASH_BYTES :]


def as_line(text: str) -> str:
    """Return a text without line ends, which `last_lines` turns back."""
    if "\n" in text or "\\" in text:
        return text.replace("\\", "\\\\").replace("\n", "\\n")
    return text


def join_lines(texts: Iterable[str]) -> str:
    """Return a column of texts: one a line. That of no text and that of one empty text look the same."""
    return "\n".join([as_line(text) for text in texts])


def last_lines(column: str, count: int) -> list[str]:
    """Return the last `count` texts of a column, or as many as there are, in their order."""
    if count == 0:
        return []
    lines = column.rsplit("\n", count)[-count:]
    return [_ESCAPED.sub(_unescape, line) for line in lines] if "\\" in column else lines


_ESCAPED = re.compile(r"\\(.)")


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


class StateHead(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a `SessionState`, in every format: what a table looks at, for half the cost of the whole."""

    applied_offset: int = -1
    last_ms: int = 0
    seen_ms: int = 0


class _StateV1(msgspec.Struct, array_like=True):
    """Format 1, which kept the events one by one."""

    applied_offset: int
    last_ms: int
    seen_ms: int
    count: int
    interactions: list[Interaction]
    last_list: list[str]
    last_list_bundle: str
    carried: list[Carried]

    def upgraded(self) -> SessionState:
        return SessionState.of(
            self.interactions,
            applied_offset=self.applied_offset,
            last_ms=self.last_ms,
            seen_ms=self.seen_ms,
            count=self.count,
            last_list=join_lines(self.last_list),
            last_list_bundle=self.last_list_bundle,
            carried=self.carried,
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SessionState)
_decoder_v1 = msgspec.msgpack.Decoder(_StateV1)
_head_decoder = msgspec.msgpack.Decoder(StateHead)
_PREFIX = bytes([STATE_FORMAT])
_PREFIX_V1 = b"\x01"


def encode_state(state: SessionState) -> bytes:
    """Write a state: the format's number in one byte, then MessagePack."""
    return _PREFIX + _encoder.encode(state)


def decode_state(stored: bytes) -> SessionState:
    """Read what `encode_state` of this or an older version wrote.

    Raises:
        StateError: the state is of a newer format, or is none.

    """
    try:
        if stored[:1] == _PREFIX:
            return _decoder.decode(stored[1:])
        if stored[:1] == _PREFIX_V1:
            return _decoder_v1.decode(stored[1:]).upgraded()
    except (msgspec.DecodeError, struct.error, OverflowError) as error:
        raise _unreadable(error) from error
    raise _unknown(stored)


def decode_head(stored: bytes) -> StateHead:
    """Read the head of what `encode_state` of this or an older version wrote; the rest is not looked into.

    Raises:
        StateError: the state is of a newer format, or is none.

    """
    if stored[:1] not in (_PREFIX, _PREFIX_V1):
        raise _unknown(stored)
    try:
        return _head_decoder.decode(stored[1:])
    except msgspec.DecodeError as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> StateError:
    return StateError(
        f"a session state in the changelog cannot be read ({error}): the topic holds something else than session "
        "states of nextclick; name the changelog's own app_id, or delete the topic and start anew"
    )


def _unknown(stored: bytes) -> StateError:
    found = f"format {stored[0]}" if stored else "no bytes"
    return StateError(
        f"a session state in the changelog has {found}, this version reads formats up to {STATE_FORMAT}: "
        "run the version that wrote it, or a newer one"
    )


# Copied for each event: to make one costs as much as to hash with it.
_event_hasher = hashlib.blake2b(digest_size=HASH_BYTES)


def event_hash(event_id: str) -> int:
    """Return 63 bits that tell an event from the others of its session."""
    hasher = _event_hasher.copy()
    hasher.update(event_id.encode())
    return int.from_bytes(hasher.digest()) >> 1


def hash_bytes(event: int) -> bytes:
    """Return an `event_hash` as a state keeps it."""
    return event.to_bytes(HASH_BYTES)


def session_clock(last_ms: int, timestamp_ms: int, gap_ms: float) -> int:
    """Return a session's clock after a click: the latest event time of the session.

    Unless the click lies more than the gap behind it. Then one of the two times is wrong, and the session goes by the
    newer event: else one click from the future would keep it from ever ending.
    """
    return timestamp_ms if timestamp_ms >= last_ms or last_ms - timestamp_ms > gap_ms else last_ms


def is_new_session(last_ms: int, timestamp_ms: int, gap_ms: float) -> bool:
    """Tell whether a click begins a new session: it comes more than the gap after the last event.

    A click that comes late (its time lies before the last event's) never does.
    """
    return timestamp_ms - last_ms > gap_ms


def window_start(count: int, length: int) -> int:
    """Return the event (from 0) from which a recurrent encoder reads a session of `count` events.

    The whole session while it has at most `length` events; then from the newest reset point, a multiple of
    `length // 2`, that leaves at least `length // 2` events to read. So at most `length` events are ever read,
    every list can be computed from the last `length` interactions, and two carried states are enough to never
    read a session again.
    """
    if count <= length:
        return 0
    half = length // 2
    return (count - half) // half * half


def last_events(count: int, length: int) -> int:
    """Return the event (from 0) from which an encoder reads that reads the last `length` events anew each time."""
    return max(0, count - length)


def windows(count: int, length: int) -> list[tuple[int, int]]:
    """Return the stretches `(start, end)` that `window_start` makes an encoder read over a session's life.

    Each event is the newest of exactly one reading; a stretch covers the readings that share a start. Training
    cuts long sessions with it, so that it sees what serving reads.
    """
    stretches: list[tuple[int, int]] = []
    start, end = 0, min(count, length)
    while True:
        stretches.append((start, end))
        if end >= count:
            return stretches
        start = window_start(end + 1, length)
        # The next reset comes with the first count whose start differs.
        end = min(count, start + 2 * (length // 2) - 1)


class Moment(msgspec.Struct, gc=False):
    """A session as one click left it: the columns of its events, `count` of them since the session began.

    `row` is the catalogue's row of the newest item, 0 where it is not known, and `at` tells the moment from the others
    of its batch. The columns are shared with the session's state and never changed, so a moment copies nothing.
    """

    at: int
    row: int
    count: int
    items: str
    types: str
    times: bytes

    def last(self, count: int) -> list[str]:
        """Return the last `count` items, oldest first."""
        return last_lines(self.items, count)

    def since(self, start: int) -> list[str]:
        """Return the items from event `start` of the session on, oldest first."""
        return last_lines(self.items, self.count - start)

    def last_types(self, count: int) -> list[str]:
        """Return the event types of the last `count` events, oldest first."""
        return last_lines(self.types, count)

    def last_times(self, count: int) -> list[int]:
        """Return the times of the last `count` events, oldest first. Milliseconds."""
        return [time for (time,) in _TIME.iter_unpack(self.times[max(0, len(self.times) - count * _TIME.size) :])]
