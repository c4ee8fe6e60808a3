"""What a batch comes to: pure, and run in one thread beside the event loop. Nothing is read or written here."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from serving.control import Control
from serving.errors import InvalidEvent, NextclickError
from serving.events import Click, Recommendation, encode_recommendation
from serving.process import EVERY, Hit, Mode, Processed, Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState, decode_state, encode_state
from stream.contract import reasons
from stream.contract.codecs import Headers, decode_record, is_misrouted
from stream.state.partition import Stored


class Incoming(NamedTuple):
    """A record of the clicks topic as Kafka gave it. `timestamp_ms` is the broker's, negative where there is none."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Dead(NamedTuple):
    """A record that cannot be served, and why."""

    record: Incoming
    reason: str
    error: str


class Answer(NamedTuple):
    """A list that is ready to be published."""

    record: Incoming
    click: Click
    source: str
    value: bytes


@dataclass(slots=True)
class Outcome:
    """What a batch comes to; every record of it is in exactly one of `answers`, `dead` and the counts up to `too_old`.

    The counts are those of `serving.process.Processed`. `states` is what must be stored, by partition and key.
    `seconds` is the time spent in each stage; `process` includes `encode` and `search`.
    """

    answers: list[Answer] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    states: dict[tuple[int, bytes], Stored] = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    duplicates: int = 0
    replayed: int = 0
    superseded: int = 0
    too_old: int = 0
    misrouted: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class Valid(NamedTuple):
    """A record that is a click."""

    record: Incoming
    click: Click


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
        outcome = Outcome()
        asked = _Asked(control, mode, wanted_since_ms)
        with _Stage(outcome, "decode"):
            valid = list(self._decode(records, outcome))
        for group in _groups(valid):
            with _Stage(outcome, "state"):
                states = self._states(group, outcome)
            with _Stage(outcome, "process"):
                self._serve(group, states, asked, outcome)
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

    def _decode(self, records: Sequence[Incoming], outcome: Outcome) -> Iterator[Valid]:
        for record in records:
            try:
                yield Valid(record, decode_record(record.key, record.value, record.headers))
            except InvalidEvent as error:
                outcome.dead.append(Dead(record, error.reason, error.message))

    def _states(self, group: Sequence[Valid], outcome: Outcome) -> dict[str, SessionState]:
        partitions = {click.session_id: record.partition for record, click in group}
        states: dict[str, SessionState] = {}
        for session_id, partition in partitions.items():
            key = session_id.encode()
            state = self._state_of(partition, key)
            if state is not None:
                states[session_id] = decode_state(state)
            else:  # asked once in a session's life: murmur2 in Python costs more than decoding a click
                outcome.misrouted += is_misrouted(key, partition, self._partitions)
        return states

    def _serve(
        self, group: Sequence[Valid], states: Mapping[str, SessionState], asked: "_Asked", outcome: Outcome
    ) -> None:
        """Process a group; where that raises, find the click that is the cause and serve the others.

        Halving keeps the order of the log, and `process` gives the same for any cutting of it, so the others get the
        lists that they would have got without that click; with `emit = latest`, perhaps more of them.
        """
        clicks = [asked.sourced(record, click) for record, click in group]
        try:
            processed = process(
                states, clicks, self._recommender, asked.control, asked.mode, stage=partial(_Stage, outcome)
            )
        except Exception as error:
            if len(group) > 1:
                half = len(group) // 2
                self._serve(group[:half], states, asked, outcome)
                changed = {s: decode_state(outcome.states[at].state) for s, at in _places(group[:half], outcome)}
                self._serve(group[half:], {**states, **changed}, asked, outcome)
                return
            self.warm_up()  # not the click's fault, if this raises too: then the process must end, not the click
            outcome.dead.append(Dead(group[0].record, reasons.PROCESSING_FAILED, f"{type(error).__name__}: {error}"))
            return
        _add(processed, group, outcome)


def _add(processed: Processed, group: Sequence[Valid], outcome: Outcome) -> None:
    records = {id(click): record for record, click in group}
    for click, recommendation in processed.lists:
        outcome.answers.append(_answer(records[id(click)], click, recommendation))
    partitions = {click.session_id: record.partition for record, click in group}
    for session_id, state in processed.states.items():
        stored = Stored(encode_state(state), state.applied_offset, state.seen_ms)
        outcome.states[partitions[session_id], session_id.encode()] = stored
    outcome.hits += processed.hits
    outcome.duplicates += processed.duplicates
    outcome.replayed += processed.replayed
    outcome.superseded += processed.superseded
    outcome.too_old += processed.too_old


def _answer(record: Incoming, click: Click, recommendation: Recommendation) -> Answer:
    return Answer(record, click, recommendation.source, encode_recommendation(recommendation))


def _groups(valid: Sequence[Valid]) -> list[list[Valid]]:
    """Cut a batch so that no session is in a group from two partitions; almost always into one group.

    Offsets of two partitions cannot be compared: a session that a foreign partitioner has put into both is two.
    """
    groups: list[list[Valid]] = []
    owners: list[dict[str, int]] = []
    for each in valid:
        partition, session_id = each.record.partition, each.click.session_id
        for group, owner in zip(groups, owners, strict=True):
            if owner.setdefault(session_id, partition) == partition:
                group.append(each)
                break
        else:
            groups.append([each])
            owners.append({session_id: partition})
    return groups


def _places(group: Sequence[Valid], outcome: Outcome) -> Iterator[tuple[str, tuple[int, bytes]]]:
    places = {click.session_id: (record.partition, click.session_id.encode()) for record, click in group}
    return ((session_id, place) for session_id, place in places.items() if place in outcome.states)


class _Asked(NamedTuple):
    """What lists are asked for, of all records of a batch."""

    control: Control
    mode: Mode
    wanted_since_ms: int | None

    def sourced(self, record: Incoming, click: Click) -> Sourced:
        """Return a record's click as `process` takes it."""
        if record.timestamp_ms < 0:
            return Sourced(click, record.offset, click.timestamp_ms)
        wanted = self.wanted_since_ms is None or record.timestamp_ms >= self.wanted_since_ms
        return Sourced(click, record.offset, record.timestamp_ms, wanted)


class _Stage:
    """Adds the time spent in its block to the outcome."""

    def __init__(self, outcome: Outcome, name: str) -> None:
        self._seconds, self._name = outcome.seconds, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._began
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent
