"""The sessions of one partition on disk (`stream.state.partition.States`).

Under the partition's prefix stand: each session's state; its listings, by the time at which it was seen, so that expiry
needs no look at the others; what the changelog holds under reserved keys; and how far all this is. Every change is one
atomic write, with the changelog's offset.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from serving.session import decode_head, decode_state
from stream.state.database import Database, new_batch
from stream.state.partition import Expiry, bury

FORMAT = 1
SESSION, SEEN, NOTE, PROGRESS = b"s", b"t", b"n", b"p"
# Looking at a session that may leave costs a read: 5 us.
EXPIRE_AT_MOST = 1_000
# Sessions whose size is remembered between their reading and their writing: more than can be noted meanwhile, when for
# each event in hand (`MAX_IN_FLIGHT` of the pipeline) its session is read, and others are written and removed.
REMEMBERED = 32_768


class Progress(msgspec.Struct, array_like=True):
    """What is known of a partition as a whole; written with every change.

    `offset` is up to where its changelog is in here (-1: it must be read whole), `written_s` the clock's time. Before
    the listing `looked_to` there is none: to find that out anew would mean to go over all that were ever deleted.
    """

    format: int = FORMAT
    changelog_id: str | None = None
    offset: int = -1
    watermark_ms: int = 0
    newest: int = -1
    count: int = 0
    state_bytes: int = 0
    written_s: float = 0.0
    looked_to: bytes = b""


def prefix_of(partition: int) -> bytes:
    """Return what all keys of a partition begin with."""
    return partition.to_bytes(4)


class DiskStates:
    """Sessions of one partition in the database (`stream.state.partition.States`).

    Args:
        database: of the worker.
        partition: its number.
        progress: how far it is.
        bucket_ms: how coarse expiry may be.

    """

    def __init__(self, database: Database, partition: int, progress: Progress, bucket_ms: int) -> None:
        self._database = database
        self._progress = progress
        self._bucket_ms = bucket_ms
        prefix = prefix_of(partition)
        self._progress_key = prefix + PROGRESS
        self._session = prefix + SESSION
        self._seen = prefix + SEEN
        self._note = prefix + NOTE
        self.notes = dict(database.items(self._note))
        # What is written has been read before; to read it again, to count sessions and bytes, would cost as much as to
        # write it.
        self._sizes = Sizes()
        # While the changelog is read: what it says, not written yet, and the sessions that were deleted.
        self._pending: dict[bytes, bytes | None] = {}
        self._graves: dict[bytes, int] = {}

    def __len__(self) -> int:
        return max(0, self._progress.count)

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    @property
    def watermark_ms(self) -> int:
        """The newest `seen_ms` of any state that was ever put here."""
        return self._progress.watermark_ms

    @property
    def state_bytes(self) -> int:
        """Bytes of all states, before compression; about."""
        return self._progress.state_bytes

    def newest_offset(self) -> int:
        """Return the highest applied offset of any state that was ever put here."""
        return self._progress.newest

    def get(self, key: bytes) -> bytes | None:
        """Return the session's state."""
        state = self._database.get(self._session + key)
        self._sizes.note(key, 0 if state is None else len(state))
        return state

    def store(self, changes: Mapping[bytes, bytes], changelog_offset: int | None = None) -> None:
        """Keep the newest states of sessions."""
        batch = new_batch()
        for key, state in changes.items():
            self._put(batch, key, state)
        self._write(batch, changelog_offset)

    def remove_many(self, expired: Iterable[tuple[bytes, int]], changelog_offset: int | None = None) -> int:
        """Forget sessions, and return how many are gone now."""
        batch, gone = new_batch(), 0
        for key, applied_offset in expired:
            state = self.get(key)
            head = None if state is None else decode_head(state)
            if head is not None and head.applied_offset <= applied_offset:
                self._delete(batch, key)
                batch.delete(self._seen + self._listing(head.seen_ms, key))
                gone += 1
        self._write(batch, changelog_offset)
        return gone

    def note(self, key: bytes, value: bytes | None, changelog_offset: int | None = None) -> None:
        """Keep what the changelog holds under a reserved key."""
        batch = new_batch()
        if value is None:
            self.notes.pop(key, None)
            batch.delete(self._note + key)
        else:
            self.notes[key] = value
            batch.put(self._note + key, value)
        self._write(batch, changelog_offset)

    def recover(self, key: bytes, state: bytes) -> None:
        """Apply a record of the changelog."""
        decoded = decode_state(state)
        self._progress.watermark_ms = max(self._progress.watermark_ms, decoded.seen_ms)
        if decoded.applied_offset >= self._applied(key) and decoded.applied_offset > self._graves.get(key, -1):
            self._pending[key] = state

    def recover_deletion(self, key: bytes, applied_offset: int | None) -> None:
        """Apply a tombstone of the changelog."""
        if applied_offset is not None:
            bury(self._graves, key, applied_offset)
        if applied_offset is None or self._applied(key) <= applied_offset:
            self._pending[key] = None

    def recovered_to(self, changelog_offset: int) -> None:
        """Write what the changelog has said up to this offset."""
        batch = new_batch()
        for key, state in self._pending.items():
            if state is None:
                self._delete(batch, key)
            else:
                self._put(batch, key, state)
        self._pending.clear()
        self._write(batch, changelog_offset)

    def recovered(self) -> None:
        """End the reading of the changelog."""
        self._graves.clear()

    def expired(self, silent_since_ms: int, committed: int, limit: int) -> Expiry:
        """Return sessions last seen before that event time."""
        found: list[tuple[bytes, int]] = []
        complete = False
        stale = new_batch()
        end = _number(silent_since_ms // self._bucket_ms)
        staying = None
        for looked, listing in enumerate(self._listings(end)):
            if looked >= min(limit, EXPIRE_AT_MOST):
                break
            key = listing[8:]
            state = self._database.get(self._session + key)
            head = None if state is None else decode_head(state)
            if head is None or self._listing(head.seen_ms, key) != listing:
                stale.delete(self._seen + listing)
                continue
            staying = staying or listing
            if head.applied_offset < committed:
                found.append((key, head.applied_offset))
        else:
            listing, complete = end, True
        self._progress.looked_to = max(self._progress.looked_to, staying or listing)
        if len(stale):
            self._write(stale, None)
        return Expiry(found, complete)

    def _listings(self, end: bytes) -> Iterable[bytes]:
        """Give the listings before `end`, oldest first."""
        for listing, _ in self._database.items(self._seen, self._progress.looked_to):
            if listing >= end:
                return
            yield listing

    def _listing(self, seen_ms: int, key: bytes) -> bytes:
        return _number(seen_ms // self._bucket_ms) + key

    def _applied(self, key: bytes) -> int:
        """Return a session's applied offset as far as the changelog was read, -1 where there is no such session."""
        state = self._pending[key] if key in self._pending else self.get(key)
        return -1 if state is None else decode_head(state).applied_offset

    def _put(self, batch: Any, key: bytes, state: bytes) -> None:
        head = decode_head(state)
        progress, listing = self._progress, self._listing(head.seen_ms, key)
        batch.put(self._session + key, state)
        # Listed without a look at where it was listed before: `expired` sorts out what is not true any more.
        batch.put(self._seen + listing, b"")
        if listing < progress.looked_to:
            progress.looked_to = listing
        size = self._sizes.of(key)
        if size is not None:
            progress.count += size == 0
            progress.state_bytes += len(state) - size
            self._sizes.note(key, len(state))
        progress.watermark_ms = max(progress.watermark_ms, head.seen_ms)
        progress.newest = max(progress.newest, head.applied_offset)

    def _delete(self, batch: Any, key: bytes) -> None:
        """Delete a session that was read; `expired` finds out about its listings."""
        batch.delete(self._session + key)
        if size := self._sizes.of(key):
            self._progress.count -= 1
            self._progress.state_bytes -= size
            self._sizes.note(key, 0)

    def _write(self, batch: Any, changelog_offset: int | None) -> None:
        progress = self._progress
        if changelog_offset is not None:
            progress.offset = max(progress.offset, changelog_offset)
        progress.written_s = time.time()
        batch.put(self._progress_key, msgspec.msgpack.encode(progress))
        self._database.write(batch)


def _number(bucket: int) -> bytes:
    return max(0, bucket).to_bytes(8)


class Sizes:
    """How large states were when they were read or written last, 0 for those that were not there; a while ago only.

    One thread reads states while another writes; a size may be missed, and the figures be off by a session.
    """

    def __init__(self) -> None:
        self._sizes: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def note(self, key: bytes, size: int) -> None:
        """Remember a size, for as long as `REMEMBERED` others are noted at least."""
        if len(self._sizes) >= REMEMBERED:
            self._older, self._sizes = self._sizes, {}
        self._sizes[key] = size

    def of(self, key: bytes) -> int | None:
        """Return a size, None where it is not known any more."""
        size = self._sizes.get(key)
        return self._older.get(key) if size is None else size
