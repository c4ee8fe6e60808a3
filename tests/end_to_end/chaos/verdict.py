"""What a round led to, against what it must have led to: pure, over records that were read back."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec

from serving.session import SessionState, decode_state
from stream.contract.dead_letter import TRUNCATED_FROM, read_cause, received_headers
from tests.end_to_end.chaos.clickstream import FIRST_PHASE
from tests.end_to_end.chaos.oracle import Expected, Place, Session, interactions
from tests.end_to_end.chaos.topics import Record
from tests.end_to_end.chaos.watch import Offsets, Sample

APPLIED_HEADER = "nextclick-applied-offset"
RESERVED = b"\xff"  # keys of the changelog that are no session's begin with it
EXAMPLES = 5

SessionAt = tuple[int, bytes]
Written = Mapping[SessionAt, list[tuple[int, int]]]
"""Of each session the states that were written: applied offset, and offset in the changelog."""
PlaceOf = Callable[[Place], Place | None]
Highest = dict[tuple[int, int], tuple[list[int], list[int]]]


class Found(NamedTuple):
    """What was in the topics at the end.

    `earlier_clicks` are those of a topic that was deleted meanwhile, as far as they were read before.
    """

    clicks: Sequence[Record]
    earlier_clicks: Sequence[Record]
    recommendations: Sequence[Record]
    dead_letters: Sequence[Record]
    changelog: Sequence[Record]


class _List(msgspec.Struct):
    recommendation_id: str
    session_id: str
    trigger_event_id: str


@dataclass
class Verdict:
    """How often each promise was broken, with examples in words."""

    broken: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, promise: str, example: str) -> None:
        """Count one more."""
        self.broken[promise] += 1
        examples = self.examples.setdefault(promise, [])
        if len(examples) < EXAMPLES:
            examples.append(example)


# The promises, in the words of the summary.
LOST = "lists lost"
UNEXPECTED = "unexpected lists"
WRONG = "wrong lists"
DIFFERING = "differing duplicates"
STATES = "wrong states"
LETTERS_LOST = "dead letters lost"
LETTERS_WRONG = "wrong dead letters"
COMMITTED = "commits ahead"
SILENT = "silent too long"
BLOCKED = "blocked"
ENDED = "ended without a sentence"
SLOW = "fewer clicks than there should be"
MISSED = "faults that did not happen"
PROMISES = (
    *(LOST, UNEXPECTED, WRONG, DIFFERING, STATES, LETTERS_LOST, LETTERS_WRONG),
    *(COMMITTED, SILENT, BLOCKED, ENDED, SLOW, MISSED),
)


def check_lists(found: Found, expected: Expected, earlier: Expected, verdict: Verdict) -> dict[str, Place]:
    """Compare the lists, and return where each stands first.

    Args:
        found: what was in the topics.
        expected: from the newest clicks topic.
        earlier: from what was read of the one before it, whose clicks need not have been answered any more.
        verdict: gets what is wrong.

    """
    first: dict[str, Record] = {}
    unread: set[str] = set()
    for record in found.recommendations:
        answer = msgspec.json.decode(record.value or b"", type=_List)
        identity = answer.recommendation_id
        if found.earlier_clicks and answer.trigger_event_id.startswith(FIRST_PHASE):
            unread.add(identity)
        if (copy := first.setdefault(identity, record)).value != record.value:
            verdict.add(DIFFERING, f"{identity} at {copy.place} and {record.place}")
        if answer.session_id.encode() != record.key:
            verdict.add(WRONG, f"{identity} at {record.place} stands under the key {record.key!r}")
    for identity, record in first.items():
        wanted = expected.lists.get(identity) or earlier.lists.get(identity)
        if wanted is None and identity not in unread:
            verdict.add(UNEXPECTED, f"{identity} at {record.place}: {(record.value or b'')[:200]!r}")
        elif wanted is not None and wanted != record.value:
            verdict.add(WRONG, f"{identity} at {record.place}: {record.value!r}, not {wanted!r}")
    for place, identity in expected.answers.items():
        if identity not in first:
            verdict.add(LOST, f"the list {identity} of the click at {place}")
    return {identity: record.place for identity, record in first.items()}


def check_letters(
    found: Found, expected: Expected, earlier: Expected, topic: str, verdict: Verdict
) -> dict[Place, Place]:
    """Compare the dead letters, and return where that of each record of the clicks stands first."""
    logs = [
        ({record.place: record for record in records}, expectation)
        for records, expectation in ((found.clicks, expected), (found.earlier_clicks, earlier))
    ]
    read = Counter(record.partition for record in found.earlier_clicks)
    first: dict[Place, Place] = {}
    for letter in found.dead_letters:
        cause = read_cause(letter.headers)
        if cause is None or cause.topic != topic or not cause.error:
            verdict.add(LETTERS_WRONG, f"the letter at {letter.place} does not say why it is one: {cause}")
            continue
        place = cause.partition, cause.offset
        problems = [
            _letter_problem(letter, clicks.get(place), cause.reason, wanted.letters.get(place))
            for clicks, wanted in logs
        ]
        if not problems[0]:
            first.setdefault(place, letter.place)
        elif all(problems) and not (read and place[1] >= read[place[0]]):
            verdict.add(LETTERS_WRONG, f"the letter at {letter.place} of the record at {place}: {problems[0]}")
    for place, reason in expected.letters.items():
        if place not in first:
            verdict.add(LETTERS_LOST, f"that of the record at {place}, {reason}")
    return first


def _letter_problem(letter: Record, original: Record | None, reason: str, wanted: str | None) -> str:
    if original is None:
        return "there is no such record"
    if reason != wanted:
        return f"its reason is {reason}, not {wanted}"
    if any(name == TRUNCATED_FROM for name, _ in letter.headers):
        return "" if (original.value or b"").startswith(letter.value or b"") else "it does not begin as the record does"
    headers = received_headers(letter.headers)
    if (letter.key, letter.value, headers) != (original.key, original.value, received_headers(original.headers)):
        return "key, value or headers are not the record's"
    return ""


def check_states(found: Found, expected: Expected, silence_ms: float, verdict: Verdict) -> Written:
    """Compare the sessions that a recovery would find, and return what was written of each: applied offset, place.

    Of several states of a session the one with the highest applied offset counts, and a deletion hides those at or
    below its own. A session may be gone only when the event time of its partition has passed it by `silence_ms`.
    """
    newest: dict[SessionAt, list[SessionState]] = defaultdict(list)
    deleted: dict[SessionAt, int] = {}
    written: dict[SessionAt, list[tuple[int, int]]] = defaultdict(list)
    for record in found.changelog:
        if record.key is None or record.key.startswith(RESERVED):
            continue
        at = record.partition, record.key
        if record.value is None:
            applied = int(dict(record.headers).get(APPLIED_HEADER) or 2**62)
            deleted[at] = max(applied, deleted.get(at, -1))
            continue
        state = decode_state(record.value)
        written[at].append((state.applied_offset, record.offset))
        known = newest[at]
        if not known or state.applied_offset > known[0].applied_offset:
            known[:] = [state]
        elif state.applied_offset == known[0].applied_offset:
            known.append(state)
    for at, session in expected.sessions.items():
        may_be_gone = session.seen_ms < expected.watermarks[at[0]] - silence_ms
        states = [state for state in newest.get(at, ()) if state.applied_offset > deleted.get(at, -1)]
        if not states and not may_be_gone:
            verdict.add(STATES, f"{at} is gone, though it was seen at {session.seen_ms}")
        for state in states:
            if problem := _state_problem(state, session, expected, at[0]):
                verdict.add(STATES, f"{at}: {problem}")
    for at in newest.keys() - expected.sessions.keys():
        verdict.add(STATES, f"{at} has a state, but no click")
    return written


def _state_problem(state: SessionState, session: Session, expected: Expected, partition: int) -> str:
    wanted = (session.applied, session.count, session.last_ms, session.seen_ms, interactions(session))
    kept = (state.applied_offset, state.count, state.last_ms, state.seen_ms, state.interactions)
    names = ("applied offset", "count", "last time", "seen time", "interactions")
    return "; ".join(
        f"{name} {there}, not {want}" for name, there, want in zip(names, kept, wanted, strict=True) if there != want
    )


def check_commits(
    samples: Iterable[Sample],
    found: Found,
    expected: Expected,
    lists: Mapping[str, Place],
    letters: Mapping[Place, Place],
    written: Written,
    verdict: Verdict,
) -> None:
    """Look whether all that was committed at a sample had its effect in the topics by then.

    A sample's ends were read after its committed offsets, so the list, the dead letter and the state of every click
    below a committed offset must stand below those ends.
    """
    needs = {
        "recommendations": _highest(found, lambda place: lists.get(expected.answers.get(place, ""))),
        "dead_letters": _highest(found, lambda place: letters.get(place) if place in expected.letters else None),
        "changelog": _highest(found, lambda place: _stored(place, expected, written)),
    }
    for sample in samples:
        for name, highest in needs.items():
            ends: Offsets = getattr(sample, name)
            for (source, target), (offsets, reach) in highest.items():
                passed = bisect_left(offsets, sample.committed.get(source, 0))
                if passed and reach[passed - 1] >= ends[target]:
                    verdict.add(
                        COMMITTED,
                        f"partition {source} was committed to {sample.committed[source]} while {name} {target} ended "
                        f"at {ends[target]}; what was committed stands there up to {reach[passed - 1]}",
                    )


def _stored(place: Place, expected: Expected, written: Written) -> Place | None:
    """Return where the first state stands that has the effect of the click at this place."""
    at = expected.stored_at.get(place)
    offsets = [offset for applied, offset in written.get(at, ()) if applied >= place[1]] if at is not None else []
    return (place[0], min(offsets)) if offsets else None


def _highest(found: Found, place_of: PlaceOf) -> Highest:
    """For each partition of the clicks and of the other topic: offsets of clicks, and how far all up to each reach."""
    highest: Highest = defaultdict(lambda: ([], []))
    for record in sorted(found.clicks, key=lambda record: record.place):
        if (target := place_of(record.place)) is not None:
            offsets, reach = highest[record.partition, target[0]]
            offsets.append(record.offset)
            reach.append(max(target[1], reach[-1] if reach else -1))
    return highest


def longest_silence_s(times_ms: Mapping[int, Sequence[int]], from_ms: int, to_ms: int) -> float:
    """Return the longest time without a list in any partition, between two times of the broker's clock. Seconds."""
    return max(_longest_gap(times, from_ms, to_ms) for times in times_ms.values()) / 1000


def _longest_gap(times_ms: Sequence[int], from_ms: int, to_ms: int) -> int:
    inside = [from_ms, *sorted(time for time in times_ms if from_ms <= time <= to_ms), to_ms]
    return max(after - before for before, after in pairwise(inside))


def append_times(records: Iterable[Record], partitions: int) -> dict[int, list[int]]:
    """Return when each partition got its records."""
    times: dict[int, list[int]] = {partition: [] for partition in range(partitions)}
    for record in records:
        times[record.partition].append(record.timestamp_ms)
    return times
