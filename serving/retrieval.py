"""Retrieval: from a session to the items nearest to it, by its vector, by what counters say of it, or by both.

A blend is log-linear: the weighted sum of the logarithms of what its sides give an item. The candidates are the union
of every side's best. The encoder's side of a candidate is its log-probability, a softmax over the encoder's own
candidates; where only a counter found the item, its inner product is computed, so the encoder lacks none. A counter's
side is log(share + floor), where the share is the item's part of all the votes that the counter gave the session: what
a counter lacks has the logarithm of the floor. A side that has nothing for a session is left out of it: an encoder
that knows none of its items, a counter without votes. Weights and floors are the manifest's, fitted on validation
sessions (`training.blend`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from serving.catalogue import Catalogue
from serving.counters import Counter
from serving.counters.answers import Answer, CommonAnswer, VotesAnswer
from serving.encoders import Reading, RowsOf
from serving.index import Index
from serving.session import Moment

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# What speaks for an item that no item of the session voted for: clicks of all visitors, or the vectors' nearness.
POPULAR, NEAR = 0, -1
# Item vectors that are multiplied at once: some megabytes, however many sessions are asked for.
_NUMBERS_AT_ONCE = 2**21


class Found(NamedTuple):
    """A session's best items, `[n, k]` each, best first, ties by row; row 0 where there are fewer."""

    scores: Vectors
    rows: Rows
    because: Rows | None
    """The row of an item of the session that voted for it, or `POPULAR`, or `NEAR`; None where all are `NEAR`."""

    def only(self, places: Sequence[int]) -> "Found":
        """Return the lines at these places."""
        because = None if self.because is None else self.because[places]
        return Found(self.scores[places], self.rows[places], because)


class Retrieval(Protocol):
    """Finds a session's best items. What it finds depends on the session alone, bit for bit."""

    def search(self, moments: Sequence[Moment], vectors: Vectors, known: Sequence[bool], k: int) -> Found:
        """Return the k best items of each moment.

        `vectors` are the moments' session vectors, `[n, dim]`; a moment that is not `known` has none.
        """
        ...


class NearestItems:
    """The items whose vectors have the largest inner product with the session's: an encoder alone."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def search(self, moments: Sequence[Moment], vectors: Vectors, known: Sequence[bool], k: int) -> Found:
        """Return the k best items of each moment (see `Retrieval`), none for one without a vector."""
        scores, rows = _search(self._index, vectors, known, k)
        return Found(scores, rows, None)


@dataclass(frozen=True, kw_only=True)
class EncoderSide:
    """What a blend needs of an encoder: its index, the item vectors, and what makes inner products logits."""

    index: Index
    vectors: Vectors
    scale: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class CounterSide:
    """A counter with its weight, and the share that stands for no votes."""

    counter: Counter
    weight: float
    floor: float


class Blend:
    """Items by the weighted logarithms of what several sides give them.

    An item is there because the newest item of the session voted for it that did so, at the first counter that has
    such votes; else because the encoder found it; else because it is popular.

    Args:
        encoder: the encoder's side, or None.
        counters: the counters' sides.
        catalogue: of the bundle.
        candidates: the best items of each side that are compared, or more where a list needs more.

    """

    def __init__(
        self, encoder: EncoderSide | None, counters: Sequence[CounterSide], catalogue: Catalogue, candidates: int
    ) -> None:
        self._encoder = encoder
        self.counters = counters
        self._catalogue = catalogue
        self._candidates = candidates
        self._window = max([side.counter.window for side in counters], default=0)
        # A counter that reads no session is asked once.
        nothing = np.zeros(0, np.int64)
        self._common = [
            None if side.counter.window else CommonAnswer(side.counter.score([nothing]), len(catalogue))
            for side in counters
        ]

    def search(self, moments: Sequence[Moment], vectors: Vectors, known: Sequence[bool], k: int) -> Found:
        """Return the k best items of each moment (see `Retrieval`)."""
        sessions = [self._catalogue.rows(moment.last(self._window)) for moment in moments]
        answers = self._asked(sessions)
        found = self._gathered(answers, vectors, known, k)
        scores, rows, places = best(found.blended(self.weights), found.rows, k)
        because = np.full(rows.shape, POPULAR, np.int64)
        if self._encoder is not None:
            # Its candidates come first, and each item stands where it came first.
            because[places < self._count(k)] = NEAR
        for answer in reversed(answers):
            voters = answer.voters_of(rows)
            because = np.where(voters > 0, voters, because)
        return Found(scores, rows, because)

    @property
    def weights(self) -> "Weights":
        """The weights and floors of the sides."""
        return Weights(
            encoder=0.0 if self._encoder is None else self._encoder.weight,
            counters=tuple(side.weight for side in self.counters),
            floors=tuple(side.floor for side in self.counters),
        )

    def candidates(self, sessions: Sequence[Rows], vectors: Vectors, known: Sequence[bool], k: int) -> "Candidates":
        """Return the candidates for lists of k, with what every side says of them.

        `sessions` are the rows of their events, oldest first, 0 where an item is not known: the last `window` of them
        at least, `window` being the longest of the counters'.
        """
        return self._gathered(self._asked(sessions), vectors, known, k)

    def _asked(self, sessions: Sequence[Rows]) -> list[Answer]:
        return [
            common or VotesAnswer(side.counter.score(sessions))
            for side, common in zip(self.counters, self._common, strict=True)
        ]

    def _count(self, k: int) -> int:
        """Return how many items each side is asked for: no fewer than a list may need."""
        return min(max(self._candidates, k), len(self._catalogue))

    def _gathered(self, answers: Sequence[Answer], vectors: Vectors, known: Sequence[bool], k: int) -> "Candidates":
        rows = [answer.top(self._count(k)) for answer in answers]
        logits: Vectors | None = None
        if self._encoder is not None:
            logits, rows = self._nearest(self._encoder, vectors, known, self._count(k), rows)
        everyones = [np.broadcast_to(found, (len(known), found.shape[1])) for found in rows]
        joined = np.concatenate([np.zeros((len(known), 0), np.int64), *everyones], axis=1)
        return Candidates(first_only(joined), logits, [answer.shares(joined) for answer in answers])

    @staticmethod
    def _nearest(
        side: EncoderSide, vectors: Vectors, known: Sequence[bool], count: int, others: list[Rows]
    ) -> tuple[Vectors, list[Rows]]:
        """Return log-probabilities of the encoder's candidates and of the others', and the rows of all.

        A moment without a vector has none: no candidates, and the same for all those of the others.
        """
        scores, rows = _search(side.index, vectors, known, count)
        logits = side.scale * scores
        looked_up = [side.scale * _products(side.vectors, found, vectors) for found in others]
        peak = logits[:, :1]
        # Left to right over one length: no sum depends on the batch.
        with np.errstate(invalid="ignore"):
            total = np.log(np.exp(logits - peak).sum(axis=1, keepdims=True)) + peak
        found = np.concatenate([logits, *looked_up], axis=1) - total
        found[~np.array(known, np.bool_)] = 0
        return found, [rows, *others]


def _search(index: Index, vectors: Vectors, known: Sequence[bool], k: int) -> tuple[Vectors, Rows]:
    """Return the index's scores and rows `[n, k]`; -inf and row 0 throughout for those without a vector."""
    if all(known):
        return index.search(vectors, k)
    scores, rows = np.full((len(known), k), -np.inf, np.float32), np.zeros((len(known), k), np.int64)
    has_vector = np.array(known, np.bool_)
    if has_vector.any():
        scores[has_vector], rows[has_vector] = index.search(vectors[has_vector], k)
    return scores, rows


def _products(table: Vectors, rows: Rows, vectors: Vectors) -> Vectors:
    """Return the inner products `[n, C]` of the table's rows `[n, C]`, or `[1, C]` for all, with the vectors `[n, D]`.

    Row by row and in one shape, so that a product depends on nothing beside it; some sessions at a time.
    """
    found = np.empty((len(vectors), rows.shape[1]), np.float32)
    step = max(1, _NUMBERS_AT_ONCE // max(1, rows.shape[1] * table.shape[1]))
    for begin in range(0, len(vectors), step):
        part = slice(begin, begin + step)
        items = table.take(rows if len(rows) == 1 else rows[part], axis=0)
        found[part] = np.matmul(items, vectors[part, :, None])[:, :, 0]
    return found


@dataclass(frozen=True)
class Weights:
    """How much each side of a blend counts, and the shares that stand for no votes."""

    encoder: float
    counters: tuple[float, ...]
    floors: tuple[float, ...]


@dataclass(frozen=True)
class Candidates:
    """What the sides of a blend say of the candidates of some sessions.

    `rows` `[n, C]` are items, each once in a line, 0 where there is none; `logits` `[n, C]` the encoder's
    log-probabilities, None where there is no encoder; `shares` `[n, C]` each counter's.
    """

    rows: Rows
    logits: Vectors | None
    shares: Sequence[Vectors]

    def blended(self, weights: Weights) -> Vectors:
        """Return the scores `[n, C]`; -inf where there is no item."""
        total = np.zeros(self.rows.shape, np.float32)
        if self.logits is not None:
            total += np.float32(weights.encoder) * self.logits
        for share, weight, floor in zip(self.shares, weights.counters, weights.floors, strict=True):
            total += np.float32(weight) * np.log(share + np.float32(floor))
        total[self.rows == 0] = -np.inf
        return total


def first_only(rows: Rows) -> Rows:
    """Return rows `[n, C]` with 0 in place of all but the first occurrence of each in its line."""
    order = np.argsort(rows, axis=1, kind="stable")
    lined = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, np.bool_)
    again[:, 1:] = lined[:, 1:] == lined[:, :-1]
    kept = rows.copy()
    lines, places = np.nonzero(again)
    kept[lines, order[lines, places]] = 0
    return kept


def best(scores: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows, Rows]:
    """Return the k best of each line: scores, rows and places in the line, `[n, k]` each, ties by row.

    -inf and row 0 where there are fewer.
    """
    if rows.shape[1] < k:
        missing = k - rows.shape[1]
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, missing)))
    keys = ordered(scores) << 32 | (2**32 - 1 - rows)
    cut = keys.shape[1] - k
    places = np.argpartition(keys, cut, axis=1)[:, cut:] if cut else np.broadcast_to(np.arange(k), keys.shape)
    chosen = np.take_along_axis(places, np.argsort(-np.take_along_axis(keys, places, axis=1), axis=1), axis=1)
    return np.take_along_axis(scores, chosen, axis=1), np.take_along_axis(rows, chosen, axis=1), chosen


def ordered(scores: Vectors) -> Rows:
    """Return integers of 32 bits and a sign that stand in the order of the scores; -0 counts as 0."""
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


class NoEncoder:
    """Stands where a bundle has no encoder: no moment has a vector."""

    carries: ClassVar[bool] = False

    def encode(self, readings: Sequence[Reading], rows_of: RowsOf) -> tuple[Vectors, list[bool]]:
        """Return vectors of no width, and that no moment has one. `readings[i].carried` becomes empty."""
        for reading in readings:
            reading.carried = []
        count = sum(len(reading.moments) for reading in readings)
        return np.zeros((count, 0), np.float32), [False] * count
