"""Settles records: each click of the log, and what came of it, in whatever order the topics are read.

What is kept is what waits for its other half. A record is settled when its list or its dead letter is there and is the
right one; a duplicate at once, since nothing must come of it.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from serving.events import Click, Recommendation, decode_recommendation
from serving.recommender import Recommender
from stream.contract.dead_letter import TRUNCATED_FROM, read_cause, received_headers
from tests.end_to_end.chaos.oracle import Fold, Question, ask, judge
from tests.end_to_end.chaos.topics import Record
from tests.end_to_end.fuzz.records import KIND_HEADER, KINDS, MUTATED, MUTATED_SESSION

Place = tuple[int, int]
EXAMPLES = 20
ASKED_AT_ONCE = 256
# Of lists that were checked, the last so many are known again should a copy come.
REMEMBERED = 50_000


class _Letter(NamedTuple):
    record: Record
    reason: str


class Checker:
    """Follows one run.

    Args:
        recommender: makes the lists that valid clicks must get.
        topic: the clicks'.
        gap_s: as the worker is told. Seconds.
        length: how many events a session keeps, as the worker is told.

    """

    def __init__(self, recommender: Recommender, topic: str, gap_s: float, length: int) -> None:
        self._recommender = recommender
        self._topic = topic
        self._fold = Fold(gap_s, length)
        self._questions: list[Question] = []
        self._asked_sessions: set[str] = set()
        self._wanted: dict[str, bytes] = {}
        self._early: dict[str, bytes] = {}
        self._remembered: dict[str, bytes] = {}
        self._wrong: dict[Place, Record] = {}
        self._early_letters: dict[Place, _Letter] = {}
        self._mutated: dict[bytes, Place] = {}
        self._early_mutated: set[bytes] = set()
        self.settled: Counter[str] = Counter()
        """Records by what became of them: `served`, `duplicate`, or the reason of their dead letter."""
        self.kinds: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.examples: list[str] = []

    @property
    def count(self) -> int:
        """Records that are settled, in order or not."""
        return self.settled.total() + self.failed.total()

    def click(self, record: Record) -> None:
        """Take a record of the clicks topic."""
        kind = dict(record.headers).get(KIND_HEADER, b"valid") or b""
        self.kinds[kind.decode()] += 1
        if kind == b"valid":
            self._valid(record)
            return
        self._wrong[record.place] = record
        if kind == MUTATED.encode():
            key = record.key or b""
            self._mutated[key] = record.place
            if key in self._early_mutated:
                self._early_mutated.discard(key)
                self._mutated_served(key)
        if record.place in self._wrong and record.place in self._early_letters:
            self._letter_of(record, self._early_letters.pop(record.place))

    def recommendation(self, record: Record) -> None:
        """Take a list."""
        key = record.key or b""
        try:
            answer = decode_recommendation(record.value or b"")
        except msgspec.DecodeError as error:
            self.fail("wrong lists", f"at {record.place}: {error}")
            return
        if answer.session_id.encode() != key or not answer.items:
            self.fail("wrong lists", f"at {record.place}, under the key {key!r}: {answer}")
        elif key.startswith(MUTATED_SESSION):
            if key in self._mutated:
                self._mutated_served(key)
            else:
                self._early_mutated.add(key)
        else:
            self._listed(answer, _digest(record.value or b""))

    def dead_letter(self, record: Record) -> None:
        """Take a dead letter."""
        cause = read_cause(record.headers)
        if cause is None or cause.topic != self._topic or not cause.error:
            self.fail("wrong dead letters", f"at {record.place}: {cause}")
            return
        place, letter = (cause.partition, cause.offset), _Letter(record, cause.reason)
        if (wrong := self._wrong.get(place)) is not None:
            self._letter_of(wrong, letter)
        else:
            self._early_letters[place] = letter

    def finish(self) -> None:
        """Count what nothing has come of, or what came of nothing."""
        self.ask()
        for identity in self._wanted:
            self.fail("clicks without a list", identity)
        for place, record in self._wrong.items():
            self.fail("records without a dead letter", f"{place}: {record.value and record.value[:200]!r}")
        for identity in self._early:
            self.fail("lists of no click", identity)
        for key in self._early_mutated:
            self.fail("lists of no click", repr(key))
        for place, letter in self._early_letters.items():
            self.fail("dead letters of valid clicks", f"{place}: {letter.reason} {letter.record.value!r:.300}")

    def ask(self) -> None:
        """Find out which lists the last clicks must get."""
        questions, self._questions, self._asked_sessions = self._questions, [], set()
        for _, identity, value in ask(questions, self._recommender) if questions else ():
            digest = _digest(value)
            if (early := self._early.pop(identity, None)) is not None:
                self._compare(identity, digest, early)
            else:
                self._wanted[identity] = digest

    def _valid(self, record: Record) -> None:
        click = judge(record)
        assert isinstance(click, Click), f"the checker takes a valid click for {click}: {record}"
        question = self._fold.add(record, click)
        if question is None:
            self.settled["duplicate"] += 1
            return
        if click.session_id in self._asked_sessions or len(self._questions) == ASKED_AT_ONCE:
            self.ask()
        self._questions.append(question)
        self._asked_sessions.add(click.session_id)

    def _listed(self, answer: Recommendation, digest: bytes) -> None:
        identity = answer.recommendation_id
        if (wanted := self._wanted.pop(identity, None)) is not None:
            self._compare(identity, wanted, digest)
        elif identity not in self._remembered:
            self._early[identity] = digest
        elif self._remembered[identity] != digest:
            self.fail("differing duplicates", identity)

    def _compare(self, identity: str, wanted: bytes, found: bytes) -> None:
        if wanted != found:
            self.fail("wrong lists", identity)
            return
        self.settled["served"] += 1
        self._remembered[identity] = found
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _mutated_served(self, key: bytes) -> None:
        del self._wrong[self._mutated.pop(key)]
        self.settled["served"] += 1

    def _letter_of(self, record: Record, letter: _Letter) -> None:
        kind = (dict(record.headers)[KIND_HEADER] or b"").decode()
        del self._wrong[record.place]
        if kind == MUTATED:
            del self._mutated[record.key or b""]
        elif letter.reason not in KINDS[kind].reasons:
            self.fail("wrong reasons", f"{kind} at {record.place} is {letter.reason}: {record.value!r:.300}")
            return
        if problem := _difference(record, letter.record):
            self.fail("wrong dead letters", f"{kind} at {record.place}: {problem}")
        else:
            self.settled[letter.reason] += 1

    def fail(self, promise: str, example: str) -> None:
        """Count a broken promise."""
        self.failed[promise] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{promise}: {example}")


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


def _difference(record: Record, letter: Record) -> str:
    """Say what of a record its dead letter does not have, though it should."""
    value, found = record.value or b"", letter.value or b""
    if (truncated := dict(letter.headers).get(TRUNCATED_FROM)) is not None:
        if int(truncated) != len(value):
            return f"it says that the value had {truncated!r} bytes, and it had {len(value)}"
        if not (record.key or b"").startswith(letter.key or b"") or not value.startswith(found):
            return "it does not begin as the record does"
        return "" if _headers(letter) in (_headers(record), []) else "it has some of the headers"
    if (letter.key, letter.value) != (record.key, record.value):
        return "key or value are others"
    return "" if _headers(letter) == _headers(record) else f"headers are {letter.headers}"


def _headers(record: Record) -> Sequence[tuple[str, bytes]]:
    return received_headers(record.headers)
