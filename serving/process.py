"""The one way from clicks to lists: states and clicks in, states and lists out. No clock, no I/O, no Kafka.

The worker, the evaluator, the tests and the fuzzers call it. Cutting the same log into other batches changes nothing:
each list, and each state after the last click, is a function of the session's own clicks, the bundle and the control.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from serving.control import Control
from serving.encoders import Reading, RowsOf
from serving.events import Click, Recommendation, recommendation_id
from serving.recommender import Query, RankedList, Recommender
from serving.session import Carried, Interaction, Moment, SessionState, event_hash, is_new_session, session_clock


class Sourced(NamedTuple):
    """A click and where it stood in the log; clicks are processed in log order."""

    click: Click
    offset: int
    broker_timestamp_ms: int


class Served(NamedTuple):
    """A click and the list that answers it."""

    click: Click
    recommendation: Recommendation


class Hit(NamedTuple):
    """How the list shown before a click did: `rank` of the clicked item in it, from 1, or 0 where it was not there."""

    bundle: str
    rank: int


@dataclass(slots=True)
class Processed:
    """What a batch brought.

    `states` are the sessions that changed. `duplicates` counts events whose id their session had already seen;
    `replayed` those at or below their session's applied offset, which have their list already.
    """

    states: dict[str, SessionState] = field(default_factory=dict)
    lists: list[Served] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    duplicates: int = 0
    replayed: int = 0


class _Asked(NamedTuple):
    """A click that gets a list, and where its session vector will be: `vectors[reading][turn]`."""

    click: Click
    moment: Moment
    reading: int
    turn: int
    state: SessionState | None
    """None where the visitor has not consented: nothing of the click is kept."""


Stage = Callable[[str], AbstractContextManager[object]]
"""Entered around a part of the work, by its name: for callers that have a clock, which `process` has not."""


def process(
    states: Mapping[str, SessionState],
    clicks: Sequence[Sourced],
    recommender: Recommender,
    control: Control,
    *,
    stage: Stage = nullcontext,
) -> Processed:
    """Fold clicks into their sessions and answer each with a list.

    `states` holds the sessions that the clicks belong to, as far as they are known; it is not changed. The stages are
    `encode` (session vectors) and `search` (index and lists).
    """
    fold = _Fold(states, recommender)
    for sourced in clicks:
        fold.add(sourced)
    rows_of = _known_rows(recommender)
    with stage("encode"):
        vectors = recommender.bundle.encoder.encode(fold.readings, rows_of)
    queries = [
        Query(
            vectors[asked.reading][asked.turn],
            rows_of(asked.moment.last(recommender.settings.session_length)),
            recommender.bundle.catalogue.row(asked.click.item_id),
        )
        for asked in fold.asked
    ]
    with stage("search"):
        lists = recommender.recommend(queries)
    for asked, ranked in zip(fold.asked, lists, strict=True):
        fold.answer(asked, ranked, recommender.bundle.id, control)
    return fold.finish()


def _known_rows(recommender: Recommender) -> RowsOf:
    row = recommender.bundle.catalogue.row
    return lambda interactions: [r for r in (row(interaction.item_id) for interaction in interactions) if r]


class _Fold:
    """A batch on its way through `process`: what its sessions have become so far."""

    def __init__(self, states: Mapping[str, SessionState], recommender: Recommender) -> None:
        self._stored = states
        self._length = recommender.settings.session_length
        self._gap_ms = recommender.settings.session_gap_s * 1000
        self._reading_of: dict[str, int] = {}
        self._result = Processed()
        self.readings: list[Reading] = []
        self.asked: list[_Asked] = []

    def add(self, sourced: Sourced) -> None:
        """Apply one click to its session, unless that has happened before."""
        click = sourced.click
        interaction = Interaction(click.item_id, click.event_type, click.timestamp_ms, event_hash(click.event_id))
        if click.consent is False:
            self._ask(click, Moment([interaction], 1, 1), self._read([]), None)
            return
        state = self._state(click.session_id)
        if sourced.offset <= state.applied_offset:
            self._result.replayed += 1
            return
        self._result.states[click.session_id] = state
        state.applied_offset = sourced.offset
        if state.count and is_new_session(state.last_ms, click.timestamp_ms, self._gap_ms):
            # A new list, not a cleared one: earlier moments of this batch still look at the old.
            state.interactions, state.count, state.last_ms, state.seen_ms = [], 0, 0, 0
        # Of a long batch more interactions are there than will be kept; a duplicate is one of those that would be.
        if any(known.event_hash == interaction.event_hash for known in state.interactions[-self._length :]):
            self._result.duplicates += 1
            return
        state.interactions.append(interaction)
        state.count += 1
        state.last_ms = session_clock(state.last_ms, click.timestamp_ms, self._gap_ms)
        state.seen_ms = max(state.seen_ms, min(click.timestamp_ms, sourced.broker_timestamp_ms))
        moment = Moment(state.interactions, len(state.interactions), state.count)
        self._ask(click, moment, self._reading(click.session_id, state), state)

    def answer(self, asked: _Asked, ranked: RankedList, bundle: str, control: Control) -> None:
        """Turn a ranked list into the click's recommendation, after scoring the list shown before it."""
        click, state = asked.click, asked.state
        identity = recommendation_id(click.session_id, click.event_id, bundle, control.revision)
        recommendation = Recommendation(
            recommendation_id=identity,
            session_id=click.session_id,
            trigger_event_id=click.event_id,
            bundle=bundle,
            control_revision=control.revision,
            event_timestamp_ms=click.timestamp_ms,
            source=ranked.source,
            items=ranked.items,
        )
        self._result.lists.append(Served(click, recommendation))
        if state is None:
            return
        if asked.moment.count > 1 and state.last_list_bundle:
            self._result.hits.append(Hit(state.last_list_bundle, _rank(click.item_id, state.last_list)))
        state.last_list = [item.item_id for item in ranked.items]
        state.last_list_bundle = bundle

    def finish(self) -> Processed:
        """Cut the states to what is kept, and give everything out."""
        for session_id, reading in self._reading_of.items():
            self._result.states[session_id].carried = self.readings[reading].carried
        for state in self._result.states.values():
            state.interactions = state.interactions[-self._length :]
        return self._result

    def _state(self, session_id: str) -> SessionState:
        if (state := self._result.states.get(session_id)) is not None:
            return state
        stored = self._stored.get(session_id)
        if stored is None:
            return SessionState()
        return msgspec.structs.replace(stored, interactions=list(stored.interactions))

    def _reading(self, session_id: str, state: SessionState) -> int:
        if session_id not in self._reading_of:
            self._reading_of[session_id] = self._read(state.carried)
        return self._reading_of[session_id]

    def _read(self, carried: list[Carried]) -> int:
        self.readings.append(Reading([], carried))
        return len(self.readings) - 1

    def _ask(self, click: Click, moment: Moment, reading: int, state: SessionState | None) -> None:
        moments = self.readings[reading].moments
        self.asked.append(_Asked(click, moment, reading, len(moments), state))
        moments.append(moment)


def _rank(item_id: str, items: Sequence[str]) -> int:
    return items.index(item_id) + 1 if item_id in items else 0
