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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from serving.control import Control
from serving.encoders import Reading
from serving.events import (
    MAX_SUPERSEDED,
    Click,
    ListedRecommendation,
    Recommendation,
    decode_recommendation,
    encode_recommendation,
    recommendation_id,
)
from serving.recommender import RankedList, Recommender
from serving.session import Moment, SessionState, as_line

if TYPE_CHECKING:
    from serving.bundle import Bundle


class Sourced(msgspec.Struct, frozen=True, gc=False):
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


class Served(msgspec.Struct, frozen=True, gc=False):
    """A click, by its place in the batch, and the list that answers it.

    The list becomes bytes when it is published, one after the other: those of a whole batch at once, no cache holds.
    """

    place: int
    click: Click
    listed: ListedRecommendation

    @property
    def value(self) -> bytes:
        """The list as it is published."""
        return encode_recommendation(self.listed)

    @property
    def recommendation(self) -> Recommendation:
        """The list, for those who look into it."""
        return decode_recommendation(self.value)


class Hit(msgspec.Struct, frozen=True, gc=False):
    """How the list shown before a click did: `rank` of the clicked item in it, from 1, or 0 where it was not there."""

    bundle: str
    rank: int


@dataclass(slots=True)
class Processed:
    """What a batch brought; every click is in exactly one of `lists` and the four counts.

    `states` are the sessions that changed. `duplicates` counts events whose id their session had already seen;
    `replayed` those at or below their session's applied offset, which have their list already; `superseded` those that
    a later click's list names; `too_old` those that were not wanted. `seconds` is the time spent on session vectors
    (`encode`) and on index and lists (`search`), by the caller's clock.
    """

    states: dict[str, SessionState] = field(default_factory=dict)
    lists: list[Served] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    duplicates: int = 0
    replayed: int = 0
    superseded: int = 0
    too_old: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class _Turn(Moment, gc=False):
    """A click's turn: its session as it left it, and what becomes of it.

    `place` is the click's in the batch; `state` is None where the visitor has not consented: nothing of it is kept.
    """

    click: Click
    place: int
    state: SessionState | None
    answered: bool
    supersedes: list[str]


def process(
    states: Mapping[str, SessionState],
    clicks: Sequence[Sourced],
    recommender: Recommender,
    control: Control,
    mode: Mode = EVERY,
    *,
    clock: Callable[[], float] = float,
) -> Processed:
    """Fold clicks into their sessions and answer each with a list.

    `states` holds the sessions that the clicks belong to, as far as they are known; it is not changed. `clock` returns
    seconds; without one, no time passes.
    """
    fold = _Fold(recommender, mode)
    fold.take(states, clicks)
    asked = [turn for turn in fold.turns if turn.answered]
    began = clock()
    vectors, known = _encoded(recommender.bundle, fold, asked, mode)
    encoded = clock()
    lists = recommender.fall_back(asked) if mode.shed else recommender.recommend(asked, vectors, known)
    seconds = {"encode": encoded - began, "search": clock() - encoded}
    fold.show(lists, control)
    return fold.finish(seconds)


def _encoded(
    bundle: "Bundle", fold: "_Fold", asked: Sequence["_Turn"], mode: Mode
) -> tuple[npt.NDArray[np.float32], Sequence[bool]]:
    """Return the session vectors of the turns that are asked, and which exist.

    An encoder that carries its state steps through every click; any other reads only what is looked at.
    """
    rows_of = bundle.catalogue.rows_of
    if bundle.encoder.carries:
        vectors, known = bundle.encoder.encode(fold.readings, rows_of)
        if len(asked) == len(fold.turns):
            return vectors, known
        return vectors[[turn.at for turn in asked]], [known[turn.at] for turn in asked]
    for reading in fold.readings:
        reading.carried = []
    looked_at = () if mode.shed else asked
    for at, turn in enumerate(looked_at):
        turn.at = at
    return bundle.encoder.encode([Reading([turn], []) for turn in looked_at], rows_of)


class _Fold:
    """A batch on its way through `process`: what its sessions have become so far."""

    def __init__(self, recommender: Recommender, mode: Mode) -> None:
        self._recommender = recommender
        self._row = recommender.bundle.catalogue.row
        self._mode = mode
        self._reading_of: dict[str, Reading] = {}
        self._latest: dict[str, _Turn] = {}
        self._result = Processed()
        self.readings: list[Reading] = []
        self.turns: list[_Turn] = []

    def take(self, stored: Mapping[str, SessionState], clicks: Sequence[Sourced]) -> None:
        """Apply each click to its session, unless that has happened before."""
        result, changed, settings = self._result, self._result.states, self._recommender.settings
        length, gap_ms = settings.session_length, settings.session_gap_s * 1000
        for place, sourced in enumerate(clicks):
            click = sourced.click
            if click.consent is False:
                self._take_without_consent(place, sourced)
                continue
            session_id = click.session_id
            state = changed.get(session_id)
            if state is None:
                known = stored.get(session_id)
                state = SessionState() if known is None else msgspec.structs.replace(known)
            if sourced.offset <= state.applied_offset:
                result.replayed += 1
                continue
            state.applied_offset = sourced.offset
            changed[session_id] = state
            if not state.fold(click, sourced.broker_timestamp_ms, length, gap_ms):
                result.duplicates += 1
                continue
            reading = self._reading_of.get(session_id)
            if reading is None:
                reading = self._reading_of[session_id] = Reading([], state.carried)
                self.readings.append(reading)
            self._take_turn(place, sourced, reading, state, kept=True)

    def show(self, lists: Sequence[RankedList], control: Control) -> None:
        """Turn the lists into recommendations, after scoring those that were shown before the clicks.

        A list is scored by the click that comes right after the one that it answers, and by no other: it is a guess at
        that click. So one that comes after a click without a list scores none.
        """
        result, bundle, rest = self._result, self._recommender.bundle.id, iter(lists)
        for turn in self.turns:
            click, state = turn.click, turn.state
            ranked = next(rest) if turn.answered else None
            if state is not None:
                if turn.count > 1 and state.last_list_bundle:
                    result.hits.append(Hit(state.last_list_bundle, _rank(click.item_id, state.last_list)))
                state.last_list = "" if ranked is None else ranked.shown
                state.last_list_bundle = "" if ranked is None else bundle
            if ranked is not None:
                listed = self._listed(turn, ranked, bundle, control.revision)
                result.lists.append(Served(turn.place, click, listed))

    def finish(self, seconds: dict[str, float]) -> Processed:
        """Give everything out."""
        self._result.seconds = seconds
        for session_id, reading in self._reading_of.items():
            self._result.states[session_id].carried = reading.carried
        return self._result

    def _take_without_consent(self, place: int, sourced: Sourced) -> None:
        if not sourced.wanted:  # nothing of it is stored, so nothing is left to do
            self._result.too_old += 1
            return
        reading = Reading([], [])
        self.readings.append(reading)
        settings = self._recommender.settings
        alone = SessionState()
        alone.fold(sourced.click, sourced.broker_timestamp_ms, settings.session_length, settings.session_gap_s * 1000)
        self._take_turn(place, sourced, reading, alone, kept=False)

    def _take_turn(self, place: int, sourced: Sourced, reading: Reading, state: SessionState, *, kept: bool) -> None:
        click, wanted = sourced.click, sourced.wanted
        turn = _Turn(
            len(self.turns),
            self._row(click.item_id),
            state.count,
            state.items,
            state.types,
            state.times,
            click,
            place,
            state if kept else None,
            wanted,
            [],
        )
        reading.moments.append(turn)
        self.turns.append(turn)
        if not wanted:
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

    def _listed(self, turn: _Turn, ranked: RankedList, bundle: str, revision: str) -> ListedRecommendation:
        click, supersedes = turn.click, turn.supersedes
        session_id, event_id = click.session_id, click.event_id
        identity = recommendation_id(session_id, event_id, bundle, revision, self._mode.shed, supersedes)
        return ListedRecommendation(
            identity,
            session_id,
            event_id,
            bundle,
            revision,
            click.timestamp_ms,
            ranked.source,
            ranked.items,
            supersedes,
        )


def _rank(item_id: str, shown: str) -> int:
    """Return an item's place, from 1, among those shown, in lines; 0 where it is not there."""
    line = as_line(item_id)
    if line not in shown:  # a text search, which tells most of them at once
        return 0
    lines = shown.split("\n")
    return lines.index(line) + 1 if line in lines else 0
