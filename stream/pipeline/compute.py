"""What a batch comes to: pure, in the event loop or, if it is large, a thread beside it. Nothing is read or written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import msgspec

from serving.control import Control
from serving.errors import InvalidEvent, NextclickError
from serving.events import Click
from serving.process import EVERY, Hit, Mode, Processed, Served, Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState, decode_state, encode_state
from stream.contract import reasons
from stream.contract.codecs import decode_record, is_misrouted
from stream.contract.incoming import Incoming


class Dead(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be served, and why."""

    record: Incoming
    reason: str
    error: str


Answer = tuple[Incoming, Served]
"""A record and the list that answers it."""

Place = tuple[int, bytes]
"""Where a session is stored: its partition and key."""

ByPlace = dict[int, dict[bytes, bytes]]
"""Stored states by partition, then by key."""


@dataclass(slots=True)
class Outcome:
    """What a batch comes to; every record of it is in exactly one of `answers`, `dead` and the counts up to `too_old`.

    The counts are those of `serving.process.Processed`. `states` is what must be stored.
    `seconds` is the time spent in each stage; `process` includes `encode` and `search`.
    """

    answers: list[Answer] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    states: ByPlace = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    duplicates: int = 0
    replayed: int = 0
    superseded: int = 0
    too_old: int = 0
    misrouted: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def spent(self, stage: str, seconds: float) -> None:
        """Add time spent in a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


class Valid(NamedTuple):
    """Records that are clicks, the clicks, and where their sessions are stored; no session is in two partitions."""

    records: list[Incoming]
    clicks: list[Sourced]
    places: dict[str, Place]


StateOf = Callable[[int, bytes], bytes | None]


class Computer:
    """Turns batches of records into outcomes.

    Args:
        recommender: makes the lists.
        state_of: returns the stored state of a session, by partition and key, None where there is none.
        partitions: how many the clicks topic has.

    """

    def __init__(self, recommender: Recommender, state_of: StateOf, partitions: int) -> None:
        self._recommender = recommender
        self._state_of = state_of
        self._partitions = partitions

    def compute(
        self,
        records: Sequence[Incoming],
        control: Control,
        mode: Mode = EVERY,
        *,
        wanted_since_ms: int | None = None,
    ) -> Outcome:
        """Decode the records, fold them into their sessions and make the lists.

        `mode` and `wanted_since_ms` are for overload: a record that the broker took before that time gets no list. One
        without a broker's timestamp gets it always.
        """
        outcome, began = Outcome(), perf_counter()
        groups = _groups(*_decode(records, wanted_since_ms or 0, outcome))
        outcome.spent("decode", perf_counter() - began)
        for group in groups:
            began = perf_counter()
            states = self._states(group, outcome)
            known = perf_counter()
            self._serve(group, states, control, mode, outcome)
            outcome.spent("state", known - began)
            outcome.spent("process", perf_counter() - known)
        return outcome

    def warm_up(self) -> None:
        """Make one list for nobody: whoever waits for the first one should not wait for the libraries too.

        Raises:
            NextclickError: the bundle cannot make a list at all.

        """
        try:
            item_id = self._recommender.bundle.catalogue.item_ids[1]
            process({}, [Sourced(Click("e", "s", item_id, 0), 0, 0)], self._recommender, Control())
        except Exception as error:
            bundle = self._recommender.bundle
            raise NextclickError(
                f"bundle {bundle.id} makes no list, not even for its first item ({error!r}); "
                f"`nextclick bundle verify {bundle.directory}` tells more"
            ) from error

    def _states(self, group: Valid, outcome: Outcome) -> dict[str, SessionState]:
        states: dict[str, SessionState] = {}
        for session_id, (partition, key) in group.places.items():
            state = self._state_of(partition, key)
            if state is not None:
                states[session_id] = decode_state(state)
            else:  # asked once in a session's life: murmur2 in Python costs more than decoding a click
                outcome.misrouted += is_misrouted(key, partition, self._partitions)
        return states

    def _serve(
        self, group: Valid, states: Mapping[str, SessionState], control: Control, mode: Mode, outcome: Outcome
    ) -> None:
        """Process a group; where that raises, find the click that is the cause and serve the others.

        Halving keeps the order of the log, and `process` gives the same for any cutting of it, so the others get the
        lists that they would have got without that click; with `emit = latest`, perhaps more of them.
        """
        try:
            processed = process(states, group.clicks, self._recommender, control, mode, clock=perf_counter)
        except Exception as error:
            records, clicks, places = group
            if len(records) > 1:
                half = len(records) // 2
                self._serve(Valid(records[:half], clicks[:half], places), states, control, mode, outcome)
                now = {**states, **_changed(places, outcome)}
                self._serve(Valid(records[half:], clicks[half:], places), now, control, mode, outcome)
                return
            self.warm_up()  # not the click's fault, if this raises too: then the process must end, not the click
            outcome.dead.append(Dead(records[0], reasons.PROCESSING_FAILED, f"{type(error).__name__}: {error}"))
            return
        _add(processed, group, outcome)


def _decode(
    records: Sequence[Incoming], wanted_since_ms: int, outcome: Outcome
) -> tuple[list[Incoming], list[Sourced]]:
    """Return the records that are clicks, and the clicks."""
    valid: list[Incoming] = []
    clicks: list[Sourced] = []
    for record in records:
        try:
            click = decode_record(record.key, record.value, record.headers)
        except InvalidEvent as error:
            outcome.dead.append(Dead(record, error.reason, error.message))
            continue
        broker_ms, wanted = record.timestamp_ms, record.timestamp_ms >= wanted_since_ms
        if broker_ms < 0:
            broker_ms, wanted = click.timestamp_ms, True
        valid.append(record)
        clicks.append(Sourced(click, record.offset, broker_ms, wanted))
    return valid, clicks


def _groups(records: list[Incoming], clicks: list[Sourced]) -> list[Valid]:
    """Cut a batch so that no session is in a group from two partitions; almost always into one group.

    Offsets of two partitions cannot be compared: a session that a foreign partitioner has put into both is two.
    """
    groups: list[Valid] = []
    while records:
        places: dict[str, Place] = {}
        others: list[int] = []
        for i, (record, sourced) in enumerate(zip(records, clicks, strict=True)):
            session_id = sourced.click.session_id
            place = places.get(session_id)
            if place is None:
                # A click's key is its session id (`decode_record`).
                places[session_id] = record.partition, record.key or b""
            elif place[0] != record.partition:
                others.append(i)
        kept = sorted(set(range(len(records))) - set(others)) if others else range(len(records))
        groups.append(Valid([records[i] for i in kept], [clicks[i] for i in kept], places))
        records, clicks = [records[i] for i in others], [clicks[i] for i in others]
    return groups


def _add(processed: Processed, group: Valid, outcome: Outcome) -> None:
    outcome.answers += [(group.records[served.place], served) for served in processed.lists]
    places, states = group.places, outcome.states
    for session_id, state in processed.states.items():
        partition, key = places[session_id]
        stored = encode_state(state)
        if partition in states:
            states[partition][key] = stored
        else:
            states[partition] = {key: stored}
    outcome.hits += processed.hits
    outcome.duplicates += processed.duplicates
    outcome.replayed += processed.replayed
    outcome.superseded += processed.superseded
    outcome.too_old += processed.too_old
    for stage, seconds in processed.seconds.items():
        outcome.spent(stage, seconds)


def _changed(places: Mapping[str, Place], outcome: Outcome) -> dict[str, SessionState]:
    """Return the sessions that have changed already, as they are now."""
    stored = {session_id: outcome.states.get(partition, {}).get(key) for session_id, (partition, key) in places.items()}
    return {session_id: decode_state(found) for session_id, found in stored.items() if found is not None}
