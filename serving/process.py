"""The one way from clicks to lists: states and clicks in, states and lists out. No clock, no I/O, no Kafka.

The worker, the evaluator, the tests and the fuzzers call it. Cutting the same log into other batches changes nothing:
each list, and each state after the last click, is a function of the session's own clicks, the bundle and the control.
What a `Mode` leaves out under overload does depend on the batches. It never changes what a session has seen, only
which lists are made of it; a list that another batch would not have given has an id of its own.

A state that is not there any more is the same as one that the gap has ended, for every click that is not later than the
grace that the caller waits before it lets states go. For a later click the two differ. A rule in here that ends
sessions by the watermark of their partition would make lists depend on the other sessions of the partition, and on how
many partitions there are; and after a recovery the watermark is known as of the newest state, not as of the click that
is read again, so one id could have two lists.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from serving.control import Control
from serving.encoders import Reading, RowsOf
from serving.events import MAX_SUPERSEDED, Click, Recommendation, recommendation_id
from serving.recommender import Query, RankedList, Recommender
from serving.session import Carried, Interaction, Moment, SessionState, event_hash, is_new_session, session_clock


class Sourced(NamedTuple):
    """A click and where it stood in the log; clicks are processed in log order.

    One that is not `wanted` any more (it waited too long) counts in its session, but gets no list.
    """

    click: Click
    offset: int
    broker_timestamp_ms: int
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Mode:
    """What is left out when clicks come faster than lists can be made.

    Args:
        emit: `every` click gets its list; or only the `latest` of each session's clicks in the batch that want one,
            whose list names the others as superseded.
        shed: nothing is searched; each list is what is popular, and its source is `shed`.

    """

    emit: Literal["every", "latest"] = "every"
    shed: bool = False


EVERY = Mode()


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
    """What a batch brought; every click is in exactly one of `lists` and the four counts.

    `states` are the sessions that changed. `duplicates` counts events whose id their session had already seen;
    `replayed` those at or below their session's applied offset, which have their list already; `superseded` those that
    a later click's list names; `too_old` those that were not wanted.
    """

    states: dict[str, SessionState] = field(default_factory=dict)
    lists: list[Served] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    duplicates: int = 0
    replayed: int = 0
    superseded: int = 0
    too_old: int = 0


@dataclass(slots=True)
class _Turn:
    """A click's turn in its session, and where its session vector will be: `vectors[reading][turn]`."""

    click: Click
    moment: Moment
    reading: int
    turn: int
    state: SessionState | None
    """None where the visitor has not consented: nothing of the click is kept."""
    answered: bool
    supersedes: list[str] = field(default_factory=list)


Stage = Callable[[str], AbstractContextManager[object]]
"""Entered around a part of the work, by its name: for callers that have a clock, which `process` has not."""


def process(
    states: Mapping[str, SessionState],
    clicks: Sequence[Sourced],
    recommender: Recommender,
    control: Control,
    mode: Mode = EVERY,
    *,
    stage: Stage = nullcontext,
) -> Processed:
    """Fold clicks into their sessions and answer each with a list.

    `states` holds the sessions that the clicks belong to, as far as they are known; it is not changed. The stages are
    `encode` (session vectors) and `search` (index and lists).
    """
    fold = _Fold(states, recommender, mode)
    for sourced in clicks:
        fold.add(sourced)
    rows_of = _known_rows(recommender)
    with stage("encode"):
        vectors = recommender.bundle.encoder.encode(fold.readings, rows_of)
    queries = [
        Query(
            vectors[turn.reading][turn.turn],
            rows_of(turn.moment.last(recommender.settings.session_length)),
            recommender.bundle.catalogue.row(turn.click.item_id),
        )
        for turn in fold.turns
        if turn.answered
    ]
    with stage("search"):
        lists = iter(recommender.fall_back(queries) if mode.shed else recommender.recommend(queries))
    for turn in fold.turns:
        fold.close(turn, next(lists) if turn.answered else None, recommender.bundle.id, control)
    return fold.finish()


def _known_rows(recommender: Recommender) -> RowsOf:
    row = recommender.bundle.catalogue.row
    return lambda interactions: [r for r in (row(interaction.item_id) for interaction in interactions) if r]


class _Fold:
    """A batch on its way through `process`: what its sessions have become so far."""

    def __init__(self, states: Mapping[str, SessionState], recommender: Recommender, mode: Mode) -> None:
        self._stored = states
        self._mode = mode
        self._latest: dict[str, _Turn] = {}
        self._length = recommender.settings.session_length
        self._gap_ms = recommender.settings.session_gap_s * 1000
        self._reading_of: dict[str, int] = {}
        self._result = Processed()
        self.readings: list[Reading] = []
        self.turns: list[_Turn] = []

    def add(self, sourced: Sourced) -> None:
        """Apply one click to its session, unless that has happened before."""
        click = sourced.click
        interaction = Interaction(click.item_id, click.event_type, click.timestamp_ms, event_hash(click.event_id))
        if click.consent is False:
            if not sourced.wanted:  # nothing of it is stored, so nothing is left to do
                self._result.too_old += 1
                return
            self._turn(sourced, Moment([interaction], 1, 1), self._read([]), None)
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
        self._turn(sourced, moment, self._reading(click.session_id, state), state)

    def close(self, turn: _Turn, ranked: RankedList | None, bundle: str, control: Control) -> None:
        """Score the list shown before the click, and turn its ranked list into a recommendation.

        A list is scored by the click that comes right after the one that it answers, and by no other: it is a guess at
        that click. So one that comes after a click without a list scores none.
        """
        click, state = turn.click, turn.state
        if state is not None:
            if turn.moment.count > 1 and state.last_list_bundle:
                self._result.hits.append(Hit(state.last_list_bundle, _rank(click.item_id, state.last_list)))
            state.last_list = [] if ranked is None else [item.item_id for item in ranked.items]
            state.last_list_bundle = "" if ranked is None else bundle
        if ranked is not None:
            recommendation = self._recommendation(turn, ranked, bundle, control)
            self._result.lists.append(Served(click, recommendation))

    def _recommendation(self, turn: _Turn, ranked: RankedList, bundle: str, control: Control) -> Recommendation:
        click = turn.click
        identity = recommendation_id(
            click.session_id,
            click.event_id,
            bundle,
            control.revision,
            shed=self._mode.shed,
            supersedes=turn.supersedes,
        )
        return Recommendation(
            recommendation_id=identity,
            session_id=click.session_id,
            trigger_event_id=click.event_id,
            bundle=bundle,
            control_revision=control.revision,
            event_timestamp_ms=click.timestamp_ms,
            source=ranked.source,
            items=ranked.items,
            supersedes=turn.supersedes,
        )

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

    def _turn(self, sourced: Sourced, moment: Moment, reading: int, state: SessionState | None) -> None:
        moments = self.readings[reading].moments
        turn = _Turn(sourced.click, moment, reading, len(moments), state, sourced.wanted)
        moments.append(moment)
        self.turns.append(turn)
        if not sourced.wanted:
            self._result.too_old += 1
        elif self._mode.emit == "latest":
            self._supersede(turn)

    def _supersede(self, turn: _Turn) -> None:
        """Let the turn's list answer the session's clicks before it too, as many as one list may name."""
        before = self._latest.get(turn.click.session_id)
        if before is not None and len(before.supersedes) < MAX_SUPERSEDED:
            before.answered = False
            turn.supersedes = [*before.supersedes, before.click.event_id]
            self._result.superseded += 1
        self._latest[turn.click.session_id] = turn


def _rank(item_id: str, items: Sequence[str]) -> int:
    return items.index(item_id) + 1 if item_id in items else 0
