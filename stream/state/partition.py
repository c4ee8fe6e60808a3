"""The sessions of one partition: what is stored, what the changelog brings back, what has expired.

`States` says what that is, `PartitionStates` does it in memory, `stream.state.disk` on disk.
"""

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple, Protocol

from serving.session import decode_head, decode_state

_APPLIED_OFFSET = attrgetter("applied_offset")
_SEEN_MS = attrgetter("seen_ms")

# Deletions that recovery remembers. A session that a frozen worker's late write brings back after its deletion was
# forgotten is only the next to expire; a day's deletions would be more than the sessions themselves.
MOST_GRAVES = 100_000


class Expiry(NamedTuple):
    """Sessions that may leave, each with its applied offset; whether the look for them came to its end."""

    sessions: list[tuple[bytes, int]]
    complete: bool


class States(Protocol):
    """Sessions of one partition of the clicks, by key.

    Every change comes after the changelog has acknowledged it, with the highest offset up to which the partition's
    changelog is now held here, None where that is not known. Memory has no use for it; a disk reads the changelog from
    there when it is opened again.
    """

    @property
    def notes(self) -> Mapping[bytes, bytes]:
        """What the changelog holds under reserved keys."""

    @property
    def watermark_ms(self) -> int:
        """The newest `seen_ms` of any state that was ever put here: event time, clamped to the broker's."""

    @property
    def state_bytes(self) -> int:
        """Bytes of all states, without overhead."""

    def __len__(self) -> int: ...

    def __contains__(self, key: bytes) -> bool: ...

    def get(self, key: bytes) -> bytes | None:
        """Return the session's state. It may be called from another thread."""

    def store(self, changes: Mapping[bytes, bytes], changelog_offset: int | None = None) -> None:
        """Keep the newest states of sessions."""

    def remove_many(self, expired: Iterable[tuple[bytes, int]], changelog_offset: int | None = None) -> int:
        """Forget sessions, each with the applied offset that `expired` gave, and return how many are gone now.

        One that has had a later event since stays.
        """

    def note(self, key: bytes, value: bytes | None, changelog_offset: int | None = None) -> None:
        """Keep what the changelog holds under a reserved key, None where that was deleted."""

    def recover(self, key: bytes, state: bytes) -> None:
        """Apply a record of the changelog.

        Of several states of a session, and of its deletion, the one with the highest applied offset stays, in whatever
        order they stand: a worker that was frozen and came back may have written an old one last.

        Raises:
            StateError: the record is of a future format, or no state.

        """

    def recover_deletion(self, key: bytes, applied_offset: int | None) -> None:
        """Apply a tombstone of the changelog.

        `applied_offset` is what the session had been at when it was deleted; None where somebody else than a worker
        deleted it, which always counts.
        """

    def recovered_to(self, changelog_offset: int) -> None:
        """Note that the changelog was applied up to this offset."""

    def recovered(self) -> None:
        """End the reading of the changelog."""

    def newest_offset(self) -> int:
        """Return the highest applied offset of any state that was ever put here, -1 where there was none."""

    def expired(self, silent_since_ms: int, committed: int, limit: int) -> Expiry:
        """Return sessions, at most `limit`, last seen before that event time.

        Only such whose applied offset lies below the committed one: a session must not be gone while its events can
        still be read again. They stay until they are removed, and are given again until then. One that came back after
        it had been put into its bucket is given by a later call, not by this one.
        """


class PartitionStates:
    """Sessions in memory: of each, its state's bytes, and nothing else.

    What a table needs to know of a state is read from it when it is needed. An object and two numbers beside each would
    be made while the cache holds them and deleted when it does not: they cost 6 % of a click. And the garbage collector
    does not go through bytes: a million objects would stop the worker for 50 ms.

    The watermark needs no record of its own, because the session that carries it is the last to expire.

    Args:
        bucket_ms: how coarse expiry may be; a session leaves at most so much later than it could.

    """

    def __init__(self, bucket_ms: int) -> None:
        self._bucket_ms = bucket_ms
        self._sessions: dict[bytes, bytes] = {}
        # A session is in exactly one bucket, that of its `seen_ms` or an earlier one: an update moves nothing, and
        # `expired` moves the sessions that turn out to be younger than their bucket.
        self._buckets: dict[int, set[bytes]] = {}
        # While the changelog is read: sessions that were deleted, and the applied offset that they had.
        self._graves: dict[bytes, int] = {}
        self._newest = -1
        self.watermark_ms = 0
        self.state_bytes = 0
        self.notes: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, key: bytes) -> bool:
        return key in self._sessions

    def get(self, key: bytes) -> bytes | None:
        """Return the session's state."""
        return self._sessions.get(key)

    def store(self, changes: Mapping[bytes, bytes], changelog_offset: int | None = None) -> None:
        """Keep the newest states of sessions."""
        sessions, count = self._sessions, len(self._sessions)
        # Every list's session comes by here: each step is one call for all of them.
        before = list(map(sessions.get, changes))
        heads = list(map(decode_head, changes.values()))
        sessions.update(changes)
        if len(sessions) > count:
            for key, head, known in zip(changes, heads, before, strict=True):
                if known is None:
                    self._buckets.setdefault(head.seen_ms // self._bucket_ms, set()).add(key)
        self.state_bytes += sum(map(len, changes.values())) - sum(map(len, filter(None, before)))
        self.watermark_ms = max(self.watermark_ms, max(map(_SEEN_MS, heads), default=0))
        self._newest = max(self._newest, max(map(_APPLIED_OFFSET, heads), default=-1))

    def remove_many(self, expired: Iterable[tuple[bytes, int]], changelog_offset: int | None = None) -> int:
        """Forget sessions, and return how many are gone now."""
        return sum(self._remove(key, applied_offset) for key, applied_offset in expired)

    def note(self, key: bytes, value: bytes | None, changelog_offset: int | None = None) -> None:
        """Keep what the changelog holds under a reserved key."""
        if value is None:
            self.notes.pop(key, None)
        else:
            self.notes[key] = value

    def _remove(self, key: bytes, applied_offset: int | None) -> bool:
        """Forget a session, unless it is past this offset, and return whether it is gone now."""
        state = self._sessions.get(key)
        if state is None or (applied_offset is not None and decode_head(state).applied_offset > applied_offset):
            return False
        del self._sessions[key]  # its bucket finds out by itself
        self.state_bytes -= len(state)
        return True

    def recover(self, key: bytes, state: bytes) -> None:
        """Apply a record of the changelog."""
        decoded = decode_state(state)
        applied_offset, seen_ms = decoded.applied_offset, decoded.seen_ms
        if seen_ms > self.watermark_ms:
            self.watermark_ms = seen_ms
        known = self._sessions.get(key)
        applied = -1 if known is None else decode_head(known).applied_offset
        if applied_offset >= applied and applied_offset > self._graves.get(key, -1):
            self._sessions[key] = state
            if known is None:
                self._buckets.setdefault(seen_ms // self._bucket_ms, set()).add(key)
            else:
                self.state_bytes -= len(known)
            self.state_bytes += len(state)
            self._newest = max(self._newest, applied_offset)

    def recover_deletion(self, key: bytes, applied_offset: int | None) -> None:
        """Apply a tombstone of the changelog."""
        if applied_offset is not None:
            bury(self._graves, key, applied_offset)
        self._remove(key, applied_offset)

    def recovered_to(self, changelog_offset: int) -> None:
        """Do nothing: what is in memory is read again from the start."""

    def recovered(self) -> None:
        """End the reading of the changelog."""
        self._graves.clear()

    def newest_offset(self) -> int:
        """Return the highest applied offset of any state that was ever put here."""
        return self._newest

    def expired(self, silent_since_ms: int, committed: int, limit: int) -> Expiry:
        """Return sessions last seen before that event time."""
        found: list[tuple[bytes, int]] = []
        for number in sorted(self._buckets):
            if (number + 1) * self._bucket_ms > silent_since_ms:
                break
            limit -= self._look(number, committed, limit, found)
            if limit <= 0:
                return Expiry(found, complete=False)
        return Expiry(found, complete=True)

    def _look(self, number: int, committed: int, limit: int, found: list[tuple[bytes, int]]) -> int:
        """Add a bucket's sessions that may leave to `found`, move those that are younger, drop those that are gone.

        Returns how many were found or moved, at most `limit`: where it is that, some may not have been looked at.
        """
        bucket, looked = self._buckets[number], 0
        elsewhere: list[bytes] = []
        for key in bucket:
            if looked >= limit:
                break
            state = self._sessions.get(key)
            if state is None:
                elsewhere.append(key)
                continue
            head = decode_head(state)
            home = head.seen_ms // self._bucket_ms
            if home > number:
                self._buckets.setdefault(home, set()).add(key)
                elsewhere.append(key)
                looked += 1
            elif head.applied_offset < committed:
                found.append((key, head.applied_offset))
                looked += 1
        bucket.difference_update(elsewhere)
        if not bucket:
            del self._buckets[number]
        return looked


def bury(graves: dict[bytes, int], key: bytes, applied_offset: int) -> None:
    """Remember a deletion, and forget the oldest where there are too many."""
    graves[key] = max(applied_offset, graves.pop(key, -1))
    if len(graves) > MOST_GRAVES:
        del graves[next(iter(graves))]
