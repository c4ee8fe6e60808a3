"""Retrieval: from a session to the items nearest to it, by its vector, by what counters say of it, or by both.

A blend is log-linear: the weighted sum of the logarithms of what its sides give an item. The candidates are the union
of every side's best. The encoder's side of a candidate is its log-probability, a softmax over the encoder's own
candidates; where only a counter found the item, its inner product is computed, so the encoder lacks none. A counter's
side is log(share + floor), where the share is the item's part of all the votes that the counter gave the session: what
a counter lacks has the logarithm of the floor. Weights and floors are the manifest's, fitted on validation sessions
(`training.blend`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.catalogue import Catalogue
from serving.counters import Counter, Votes
from serving.encoders import Reading, RowsOf
from serving.index import Index
from serving.session import Moment

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Retrieval(Protocol):
    """Finds a session's best items. What it finds depends on the session alone, bit for bit."""

    def search(self, moments: Sequence[Moment], vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return scores and rows `[n, k]`, best first, ties by row; row 0 where there are fewer.

        `vectors` are the moments' session vectors, `[n, dim]`.
        """
        ...


class NearestItems:
    """The items whose vectors have the largest inner product with the session's: an encoder alone."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def search(self, moments: Sequence[Moment], vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return scores and rows `[n, k]` (see `Retrieval`)."""
        return self._index.search(vectors, k)


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

    Args:
        encoder: the encoder's side, or None.
        counters: the counters' sides.
        catalogue: of the bundle.
        candidates: the best items of each side that are compared.

    """

    def __init__(
        self, encoder: EncoderSide | None, counters: Sequence[CounterSide], catalogue: Catalogue, candidates: int
    ) -> None:
        self._encoder = encoder
        self.counters = counters
        self._catalogue = catalogue
        self._candidates = min(candidates, len(catalogue))
        self._window = max([side.counter.window for side in counters], default=0)

    def search(self, moments: Sequence[Moment], vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return scores and rows `[n, k]` (see `Retrieval`)."""
        sessions = [np.array(self._catalogue.known_rows(moment.last(self._window)), np.int64) for moment in moments]
        found = self.candidates(sessions, vectors)
        return best(found.blended(self.weights), found.rows, k)

    @property
    def weights(self) -> "Weights":
        """The weights and floors of the sides."""
        return Weights(
            encoder=0.0 if self._encoder is None else self._encoder.weight,
            counters=tuple(side.weight for side in self.counters),
            floors=tuple(side.floor for side in self.counters),
        )

    def candidates(self, sessions: Sequence[Rows], vectors: Vectors) -> "Candidates":
        """Return the candidates of sessions, known item rows each, with what every side says of them."""
        votes = [side.counter.score(sessions) for side in self.counters]
        rows = [vote.top(self._candidates)[1] for vote in votes]
        logits: Vectors | None = None
        if self._encoder is not None:
            logits, rows = self._nearest(self._encoder, vectors, rows)
        joined = np.concatenate(rows, axis=1)
        return Candidates(first_only(joined), logits, [shares(vote, joined) for vote in votes])

    def _nearest(self, side: EncoderSide, vectors: Vectors, others: list[Rows]) -> tuple[Vectors, list[Rows]]:
        """Return log-probabilities of the encoder's candidates and of the others', and the rows of all."""
        scores, rows = side.index.search(vectors, self._candidates)
        logits = side.scale * scores
        # Row by row and in one shape, so that a product depends on nothing beside it.
        looked_up = [
            side.scale * np.matmul(side.vectors.take(found, axis=0), vectors[:, :, None])[:, :, 0] for found in others
        ]
        peak = logits[:, :1]
        # Left to right over one length: no sum depends on the batch.
        total = np.log(np.exp(logits - peak).sum(axis=1, keepdims=True)) + peak
        return np.concatenate([logits, *looked_up], axis=1) - total, [rows, *others]


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


def shares(votes: Votes, rows: Rows) -> Vectors:
    """Return each item's part `[n, C]` of its session's votes; 0 where there are none."""
    sums = np.array([votes.scores[a:b].sum() for a, b in zip(votes.begin[:-1], votes.begin[1:], strict=True)])
    found: Vectors = (votes.of(rows) / np.maximum(sums, np.finfo(np.float32).tiny)[:, None]).astype(np.float32)
    return found


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


def best(scores: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
    """Return the k best of each line, scores and rows `[n, k]`, ties by row; -inf and row 0 where there are fewer."""
    if rows.shape[1] < k:
        missing = k - rows.shape[1]
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, missing)))
    keys = ordered(scores) << 32 | (2**32 - 1 - rows)
    cut = keys.shape[1] - k
    places = np.argpartition(keys, cut, axis=1)[:, cut:] if cut else np.broadcast_to(np.arange(k), keys.shape)
    chosen = np.take_along_axis(places, np.argsort(-np.take_along_axis(keys, places, axis=1), axis=1), axis=1)
    return np.take_along_axis(scores, chosen, axis=1), np.take_along_axis(rows, chosen, axis=1)


def ordered(scores: Vectors) -> Rows:
    """Return integers of 32 bits and a sign that stand in the order of the scores; -0 counts as 0."""
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


class NoEncoder:
    """Stands where a bundle has no encoder: a moment is known where a counter may know one of its items."""

    def __init__(self, window: int) -> None:
        self._window = window

    def encode(self, readings: Sequence[Reading], rows_of: RowsOf) -> tuple[Vectors, list[bool]]:
        """Return vectors of no width, and which moments have a known item among their last."""
        moments = [moment for reading in readings for moment in reading.moments]
        known = [False] * len(moments)
        for moment in moments:
            known[moment.at] = any(rows_of(moment.last(self._window)))
        for reading in readings:
            reading.carried = []
        return np.zeros((len(moments), 0), np.float32), known
