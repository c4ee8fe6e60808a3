"""Which records of a partition are clicks that the stream counts: the worker's own decoder and its own sessions."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from serving.errors import InvalidEvent
from serving.events import Click
from serving.session import SessionState
from stream.contract.codecs import decode_record
from stream.contract.incoming import Incoming
from stream.settings import Settings

# Looking for sessions that have ended goes through all of them.
EXPIRE_EVERY = 50_000


@dataclass
class LeftOut:
    """How many records were not exported, and why: no record is in two of the counts."""

    dead_letters: Counter[str] = field(default_factory=Counter)
    """Those that a worker makes dead letters of, by reason (`stream.contract.reasons`)."""

    without_consent: int = 0
    """Clicks that say `consent: false`: the stream keeps nothing of them."""

    duplicates: int = 0
    """Clicks whose event id their session had already."""

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        return vars(self) | {"dead_letters": dict(self.dead_letters)}


class Sieve:
    """Takes a partition's records in their order and lets through what its sessions would be made of.

    Memory: the sessions that are alive, as in a worker.
    """

    def __init__(self, settings: Settings, left_out: LeftOut) -> None:
        serving = settings.serving
        self._gap_ms = serving.session_gap_s * 1000
        self._length = serving.session_length
        self._silence_ms = round((serving.session_gap_s + settings.worker.expiry_grace_s) * 1000)
        self._left_out = left_out
        self._sessions: dict[str, SessionState] = {}
        self._watermark_ms = 0
        self._taken = 0

    def take(self, record: Incoming) -> Click | None:
        """Return the click in a record, None where it is to be left out; that is counted."""
        try:
            click = decode_record(record.key, record.value, record.headers)
        except InvalidEvent as error:
            self._left_out.dead_letters[error.reason] += 1
            return None
        if click.consent is False:
            self._left_out.without_consent += 1
            return None
        state = self._sessions.get(click.session_id)
        if state is None:
            state = self._sessions[click.session_id] = SessionState()
        broker_ms = record.timestamp_ms if record.timestamp_ms >= 0 else click.timestamp_ms
        if not state.fold(click, broker_ms, self._length, self._gap_ms):
            self._left_out.duplicates += 1
            return None
        self._watermark_ms = max(self._watermark_ms, state.seen_ms)
        self._taken += 1
        if self._taken % EXPIRE_EVERY == 0:
            self._expire()
        return click

    def _expire(self) -> None:
        """Forget the sessions that a worker would forget: silent for the gap and the grace, in event time."""
        since_ms = self._watermark_ms - self._silence_ms
        self._sessions = {name: state for name, state in self._sessions.items() if state.seen_ms >= since_ms}
