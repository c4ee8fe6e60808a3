"""A session: its state, how clicks fold into it, and which part of it an encoder reads. Once, for online and offline.

The order of a session is the order of its log: clicks are never sorted here. Only the gap looks at event times.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from serving.errors import StateError

# First byte of a stored state. A newer worker reads the older formats; an older worker refuses the newer.
STATE_FORMAT = 1


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


class SessionState(msgspec.Struct, array_like=True):
    """All that is kept of one session: one entry of the session table.

    `applied_offset` is the source offset of its newest event, `last_ms` its clock (`session_clock`), `seen_ms` the
    latest event time clamped to the broker's timestamps (for expiry), `count` the number of events since the session
    began, of which `interactions` holds the last ones, and `last_list` the items of the list shown last.
    """

    applied_offset: int = -1
    last_ms: int = 0
    seen_ms: int = 0
    count: int = 0
    interactions: list[Interaction] = msgspec.field(default_factory=list)
    last_list: list[str] = msgspec.field(default_factory=list)
    last_list_bundle: str = ""
    carried: list[Carried] = msgspec.field(default_factory=list)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SessionState)
_PREFIX = bytes([STATE_FORMAT])


def encode_state(state: SessionState) -> bytes:
    """Write a state: the format's number in one byte, then MessagePack."""
    return _PREFIX + _encoder.encode(state)


def decode_state(stored: bytes) -> SessionState:
    """Read what `encode_state` of this or an older version wrote.

    Raises:
        StateError: the state is of a newer format, or is none.

    """
    if stored[:1] != _PREFIX:
        found = f"format {stored[0]}" if stored else "no bytes"
        raise StateError(
            f"a session state in the changelog has {found}, this version reads format {STATE_FORMAT}: "
            "run the version that wrote it, or a newer one"
        )
    try:
        return _decoder.decode(memoryview(stored)[1:])
    except msgspec.DecodeError as error:
        raise StateError(
            f"a session state in the changelog cannot be read ({error}): the topic holds something else than session "
            "states of nextclick; name the changelog's own app_id, or delete the topic and start anew"
        ) from error


def event_hash(event_id: str) -> int:
    """Return 63 bits that tell an event from the others of its session."""
    digest = hashlib.blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def session_clock(last_ms: int, timestamp_ms: int, gap_ms: float) -> int:
    """Return a session's clock after a click: the latest event time of the session.

    Unless the click lies more than the gap behind it. Then one of the two times is wrong, and the session goes by the
    newer event: else one click from the future would keep it from ever ending.
    """
    return timestamp_ms if last_ms - timestamp_ms > gap_ms else max(last_ms, timestamp_ms)


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


class Moment(msgspec.Struct, frozen=True):
    """A session as one click left it: the events `interactions[:end]`, of `count` since the session began.

    The list is shared by the session's moments in a batch and only grows, so a moment copies nothing.
    """

    interactions: list[Interaction]
    end: int
    count: int

    def last(self, length: int) -> Sequence[Interaction]:
        """Return the last `length` interactions, oldest first."""
        return self.interactions[max(0, self.end - length) : self.end]

    def since(self, start: int) -> Sequence[Interaction]:
        """Return the interactions from event `start` of the session on, oldest first."""
        return self.interactions[max(0, self.end - (self.count - start)) : self.end]
