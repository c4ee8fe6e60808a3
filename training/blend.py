"""Fitting a blend: the weights of encoder and counters, and the counters' floors, on validation sessions.

The candidates of `serving.retrieval` are made once for each case; then weights are tried on them, one after the other,
until none of their steps finds a better figure. What is tried is the served arithmetic itself.

Shape suffixes, this file only:
    n cases    C candidates of a case
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from serving import ranks
from serving.catalogue import Catalogue
from serving.counters import Counter
from serving.encoders import Encoder, Reading
from serving.retrieval import Blend, Candidates, CounterSide, EncoderSide, Weights
from serving.settings import Exclude, left_out
from training.account import MONITORED_AT
from training.checks import at_least
from training.evaluation.cases import Cases
from training.evaluation.served import Moments

_BATCH = 1024
# Steps of a weight relative to the encoder's, and of a floor: coarse ones first, then finer ones around the best.
_WEIGHT_STEPS = ((4.0, 2.0), (1.5, 1.25), (1.1,))
_FLOOR_STEPS = ((100.0, 10.0), (3.0,), (1.5,))


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """How a blend is made and fitted."""

    candidates: int = 500
    """The best items of each side that are compared."""
    monitor: Literal["mrr", "ndcg", "hr"] = "ndcg"
    """The figure that the weights are chosen by."""
    k: int = 20
    """The length of the lists in that figure."""
    cases: int = 10_000
    """Validation cases that are looked at, at most: those of the first sessions of a shuffle."""

    def __post_init__(self) -> None:
        at_least(1, candidates=self.candidates, k=self.k, cases=self.cases)


@dataclass(frozen=True)
class Fitted:
    """The weights that were found, and the figures that they gave on so many validation cases."""

    weights: Weights
    cases: int
    figures: dict[str, float]


class _Cases:
    """Candidates of all cases, with what is excluded taken out, and where each target stands among them.

    The same sums as `Candidates.blended`, but the logarithms are taken once for each floor: most steps move a weight.
    """

    def __init__(self, found: Candidates, targets: npt.NDArray[np.int64]) -> None:
        own = found.rows == targets[:, None]
        self._has = own.any(axis=1) & (targets > 0)
        self._lines, self._places = np.flatnonzero(self._has), own.argmax(axis=1)[self._has]
        self._found = found
        self._none = found.rows == 0
        self._logs: dict[int, tuple[float, npt.NDArray[np.float32]]] = {}

    def ranks(self, weights: Weights) -> npt.NDArray[np.int64]:
        """Return each target's rank, ties counted against it, 0 where it is no candidate."""
        scores = np.zeros(self._none.shape, np.float32)
        if self._found.logits is not None:
            np.multiply(self._found.logits, np.float32(weights.encoder), out=scores)
        for place, weight in enumerate(weights.counters):
            scores += np.float32(weight) * self._log(place, weights.floors[place])
        scores[self._none] = -np.inf
        own = scores[self._lines, self._places]
        placed = np.zeros(len(scores), np.int64)
        placed[self._lines] = (scores[self._lines] >= own[:, None]).sum(axis=1)
        return placed

    def _log(self, place: int, floor: float) -> npt.NDArray[np.float32]:
        kept = self._logs.get(place)
        if kept is None or kept[0] != floor:
            kept = self._logs[place] = floor, np.log(self._found.shares[place] + np.float32(floor))
        return kept[1]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is to be blended: an encoder that makes session vectors, with its index, or None of both; and counters."""

    encoder: Encoder | None
    nearest: EncoderSide | None
    counters: Sequence[Counter]
    catalogue: Catalogue
    event_types: Sequence[str] = ()


def fit_blend(sides: Sides, cases: Cases, config: BlendConfig, *, exclude: Exclude) -> Fitted:
    """Return the weights and floors that are best on validation cases, `exclude` being what lists leave out.

    What lists are filled with where there are too few candidates is the same for all weights, and no hit here.
    """
    side, counters = sides.nearest, sides.counters
    equal = [CounterSide(counter=counter, weight=1.0, floor=1e-4) for counter in counters]
    blend = Blend(side, equal, sides.catalogue, config.candidates)
    chosen = _chosen(cases, config.cases)
    parts = [
        _candidates(sides, blend, cases, chosen[begin : begin + _BATCH], exclude, config.k)
        for begin in range(0, len(chosen), _BATCH)
    ]
    asked = _Cases(_joined(parts), cases.targets[chosen])
    figure = {"mrr": ranks.mrr, "ndcg": ranks.ndcg, "hr": ranks.hit_rate}[config.monitor]

    def tried(weights: Weights) -> float:
        return figure(asked.ranks(weights), config.k)

    best = blend.weights
    if side is not None:
        best = replace(best, encoder=1.0)
    found = tried(best)
    for size in range(len(_WEIGHT_STEPS)):
        better = True
        while better:
            better = False
            for other in _steps(best, size, fixed=side is None and len(counters) == 1):
                value = tried(other)
                if value > found:
                    best, found, better = other, value, True
    return Fitted(best, len(chosen), ranks.summary(asked.ranks(best), sorted({*MONITORED_AT, config.k})))


def _steps(weights: Weights, size: int, *, fixed: bool) -> Iterator[Weights]:
    """Yield the weights with one counter's weight or floor a step away; the first side's weight stays."""
    for place, (weight, floor) in enumerate(zip(weights.counters, weights.floors, strict=True)):
        if not fixed and (weights.encoder or place):
            for factor in _WEIGHT_STEPS[size]:
                for other in (weight * factor, weight / factor):
                    yield replace(weights, counters=_with(weights.counters, place, other))
        for factor in _FLOOR_STEPS[size]:
            for other in (floor * factor, floor / factor):
                yield replace(weights, floors=_with(weights.floors, place, min(1.0, max(1e-9, other))))


def _with(values: tuple[float, ...], place: int, value: float) -> tuple[float, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _chosen(cases: Cases, most: int) -> npt.NDArray[np.int64]:
    """Return `most` cases at most: those of the first sessions of a fixed shuffle, of the last one its first."""
    if len(cases) <= most:
        return np.arange(len(cases))
    sessions = np.random.default_rng(0).permutation(int(cases.session.max()) + 1)
    place = np.empty(len(sessions), dtype=np.int64)
    place[sessions] = np.arange(len(sessions))
    order = np.argsort(place[cases.session], kind="stable")[:most]
    return np.sort(order)


def _candidates(
    sides: Sides, blend: Blend, cases: Cases, chosen: npt.NDArray[np.int64], exclude: Exclude, k: int
) -> Candidates:
    """Return what the sides say of the candidates of the chosen cases, without the items that lists leave out."""
    contexts = [cases.contexts(case, case + 1)[0] for case in chosen.tolist()]
    vectors, known = np.zeros((len(contexts), 0), np.float32), [False] * len(contexts)
    if sides.encoder is not None:
        moments = Moments(sides.catalogue.item_ids, sides.event_types)
        readings = [Reading([moments.of(at, context)], []) for at, context in enumerate(contexts)]
        vectors, known = sides.encoder.encode(readings, sides.catalogue.rows_of)
    found = blend.candidates([context.events.rows for context in contexts], vectors, known, k)
    for rows, context in zip(found.rows, contexts, strict=True):
        own = context.events.rows
        rows[np.isin(rows, own[len(own) - left_out(exclude, len(own)) :])] = 0
    return found


def _joined(parts: Sequence[Candidates]) -> Candidates:
    logits = [part.logits for part in parts if part.logits is not None]
    return Candidates(
        np.concatenate([part.rows for part in parts]),
        np.concatenate(logits) if logits else None,
        [np.concatenate(shares) for shares in zip(*(part.shares for part in parts), strict=True)],
    )
