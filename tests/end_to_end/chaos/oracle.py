"""What a log of clicks must lead to: the log folded one click after the other, with code of its own.

Nothing here comes from the pipeline or from `serving.process` but the bytes of the lists: those are made by
`serving.process`, called for one click of a session with the state that this fold says the session has.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serving.control import Control
from serving.events import Click, encode_recommendation
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.session import Interaction, SessionState, event_hash
from stream.contract import reasons
from tests.end_to_end.chaos.clickstream import DEADLY_ITEM
from tests.end_to_end.chaos.topics import Record

Place = tuple[int, int]


@dataclass(slots=True)
class Session:
    """What is known of a session: `recent` are its last events, oldest first, `applied` the offset of the newest."""

    applied: int = -1
    last_ms: int = 0
    seen_ms: int = 0
    count: int = 0
    recent: list[Click] = field(default_factory=list)


@dataclass
class Expected:
    """What must be in the topics.

    `sessions` is what the sessions end as, by partition and key; `watermarks` the newest event time of each partition;
    `answers` is the id of the list of each click that gets one, by the click's place; `lists` its bytes by id;
    `letters` the reason of each record that is no click; `duplicates` the places of those that get nothing; `stored_at`
    the session that each click changes.
    """

    sessions: Mapping[tuple[int, bytes], Session] = field(default_factory=dict)
    watermarks: Mapping[int, int] = field(default_factory=dict)
    answers: dict[Place, str] = field(default_factory=dict)
    lists: dict[str, bytes] = field(default_factory=dict)
    letters: dict[Place, str] = field(default_factory=dict)
    duplicates: set[Place] = field(default_factory=set)
    stored_at: dict[Place, tuple[int, bytes]] = field(default_factory=dict)


class Question(NamedTuple):
    """A click that gets a list, and the state in which it finds its session; None where nothing of it is kept."""

    place: Place
    click: Click
    broker_ms: int
    state: SessionState | None


class Fold:
    """Sessions, and what clicks make of them, one after the other in the order of each partition.

    Args:
        gap_s: the silence that ends a session, in event time. Seconds.
        length: how many events of itself a session knows.

    """

    def __init__(self, gap_s: float, length: int) -> None:
        self._gap_ms = gap_s * 1000
        self._length = length
        self.sessions: dict[tuple[int, bytes], Session] = {}
        self.watermarks: defaultdict[int, int] = defaultdict(int)
        """The newest event time of each partition, clamped to the broker's."""

    def add(self, record: Record, click: Click) -> Question | None:
        """Fold a click; None for a duplicate, which gets no list."""
        if click.consent is False:
            return Question(record.place, click, record.timestamp_ms, None)
        session = self.sessions.setdefault((record.partition, click.session_id.encode()), Session())
        session.applied = record.offset
        if session.count and click.timestamp_ms - session.last_ms > self._gap_ms:
            session.count, session.last_ms, session.seen_ms, session.recent = 0, 0, 0, []
        if any(known.event_id == click.event_id for known in session.recent):
            return None
        question = Question(record.place, click, record.timestamp_ms, _as_state(session))
        session.count += 1
        session.recent = [*session.recent, click][-self._length :]
        # A click far behind its session's clock means that one of the two is wrong; the newer one counts.
        behind_ms = session.last_ms - click.timestamp_ms
        session.last_ms = click.timestamp_ms if behind_ms > self._gap_ms else max(session.last_ms, click.timestamp_ms)
        session.seen_ms = max(session.seen_ms, min(click.timestamp_ms, record.timestamp_ms))
        self.watermarks[record.partition] = max(self.watermarks[record.partition], session.seen_ms)
        return question


def judge(record: Record, deadly_reason: str | None = None) -> Click | str:
    """Read a record of the click stream: the click, or the reason of the dead letter that it must become.

    Args:
        record: of the clicks topic.
        deadly_reason: of the dead letter that a click becomes which kills every worker; None where none does.

    """
    headers = {name.lower(): (text or b"").decode("latin-1") for name, text in record.headers}
    content_type = headers.get("content-type", "application/json").partition(";")[0]
    if content_type not in {"application/json", "text/json", "application/cloudevents+json"}:
        return reasons.UNSUPPORTED_CONTENT_TYPE
    if headers.get("ce_specversion", "1.0") != "1.0":
        return reasons.INVALID_CLOUDEVENT
    if not record.value:
        return reasons.EMPTY
    try:
        document = json.loads(record.value.decode())
    except (ValueError, RecursionError):
        return reasons.NOT_JSON
    if content_type == "application/cloudevents+json":
        data = json.loads(base64.b64decode(document["data_base64"])) if "data_base64" in document else document["data"]
        document = {"event_id": document["id"], **data}
    elif "ce_id" in headers:
        document = {"event_id": headers["ce_id"], **document}
    click = _click(document)
    if click is None:
        return reasons.INVALID
    if not record.key:
        return reasons.MISSING_KEY
    if record.key != click.session_id.encode():
        return reasons.WRONG_KEY
    return deadly_reason if deadly_reason and click.item_id == DEADLY_ITEM else click


def _click(fields: Any) -> Click | None:
    if not isinstance(fields, dict) or not isinstance(fields.get("timestamp_ms"), int) or fields["timestamp_ms"] < 0:
        return None
    if not all(isinstance(fields.get(name), str) and fields[name] for name in ("event_id", "session_id", "item_id")):
        return None
    return Click(
        fields["event_id"],
        fields["session_id"],
        fields["item_id"],
        fields["timestamp_ms"],
        fields.get("event_type", "view"),
        consent=fields.get("consent"),
    )


def expect(
    records: Iterable[Record], recommender: Recommender, *, gap_s: float, length: int, deadly_reason: str | None = None
) -> Expected:
    """Return what a log of clicks must lead to.

    Args:
        records: of the clicks topic, each partition's in its order.
        recommender: makes the lists.
        gap_s: the silence that ends a session, in event time. Seconds.
        length: how many events of itself a session knows.
        deadly_reason: as in `judge`.

    """
    fold = Fold(gap_s, length)
    expected = Expected(sessions=fold.sessions, watermarks=fold.watermarks)
    for questions in _batches(_fold(records, expected, fold, deadly_reason)):
        for question, identity, value in ask(questions, recommender):
            expected.answers[question.place] = identity
            expected.lists[identity] = value
    return expected


def _fold(records: Iterable[Record], expected: Expected, fold: Fold, deadly_reason: str | None) -> Iterator[Question]:
    for record in records:
        click = judge(record, deadly_reason)
        if isinstance(click, str):
            expected.letters[record.place] = click
            continue
        if click.consent is not False:
            expected.stored_at[record.place] = record.partition, click.session_id.encode()
        if (question := fold.add(record, click)) is None:
            expected.duplicates.add(record.place)
        else:
            yield question


def _as_state(session: Session) -> SessionState:
    return SessionState.of(interactions(session), last_ms=session.last_ms, seen_ms=session.seen_ms, count=session.count)


def interactions(session: Session) -> list[Interaction]:
    """Return a session's events as the session table has them."""
    return [Interaction(c.item_id, c.event_type, c.timestamp_ms, event_hash(c.event_id)) for c in session.recent]


def _batches(questions: Iterable[Question], most: int = 512) -> Iterator[list[Question]]:
    """Cut before a session comes twice: each question is then answered from its own state alone."""
    batch: list[Question] = []
    sessions: set[str] = set()
    for question in questions:
        if question.click.session_id in sessions or len(batch) == most:
            yield batch
            batch, sessions = [], set()
        batch.append(question)
        sessions.add(question.click.session_id)
    if batch:
        yield batch


def ask(questions: Sequence[Question], recommender: Recommender) -> Iterator[tuple[Question, str, bytes]]:
    """Give the lists that answer clicks of different sessions: id and bytes."""
    states = {each.click.session_id: each.state for each in questions if each.state is not None}
    clicks = [Sourced(each.click, offset, each.broker_ms) for offset, each in enumerate(questions)]
    lists = process(states, clicks, recommender, Control()).lists
    for question, served in zip(questions, lists, strict=True):
        assert served.click is question.click
        yield question, served.recommendation.recommendation_id, encode_recommendation(served.recommendation)
