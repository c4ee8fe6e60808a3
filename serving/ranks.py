"""The arithmetic of the ranking metrics, from ranks alone; live metrics and evaluations use it.

A rank is the place, from 1, of the one relevant item (the next click) among the candidates, 0 where it is not among
them. Every metric is the mean of one value a case, so that intervals can be drawn over sessions (`gains`). With one
relevant item a case, Recall@k is the hit rate, Precision@k a k-th of it, the ideal DCG 1, and the average precision
the reciprocal rank.
"""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

Ranks = npt.NDArray[np.int64]
Gains = npt.NDArray[np.float64]


def _hits(ranks: Ranks, k: int) -> Gains:
    return ((ranks >= 1) & (ranks <= k)).astype(np.float64)


def _precisions(ranks: Ranks, k: int) -> Gains:
    return _hits(ranks, k) / k


def _f1s(ranks: Ranks, k: int) -> Gains:
    # The harmonic mean of 1 and 1 / k, for each hit.
    return 2 * _hits(ranks, k) / (k + 1)


def _discounted(ranks: Ranks, k: int) -> Gains:
    return _hits(ranks, k) / np.log2(np.maximum(ranks, 1) + 1.0)


def _reciprocals(ranks: Ranks, k: int) -> Gains:
    return _hits(ranks, k) / np.maximum(ranks, 1)


METRICS: dict[str, Callable[[Ranks, int], Gains]] = {
    "recall": _hits,
    "hr": _hits,
    "ndcg": _discounted,
    "mrr": _reciprocals,
    "map": _reciprocals,
    "precision": _precisions,
    "f1": _f1s,
}
"""Each metric's value for each case, by the name that reports use."""


def gains(ranks: Ranks, metric: str, k: int) -> Gains:
    """Return what each case adds to a metric, float64 `[n]`; the metric is their mean.

    Raises:
        ValueError: k is below 1.
        KeyError: there is no such metric (`METRICS`).

    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return METRICS[metric](ranks, k)


def figure(ranks: Ranks, metric: str, k: int) -> float:
    """Return a metric at k, 0 where there are no cases; raises as `gains` does."""
    values = gains(ranks, metric, k)
    return float(values.mean()) if len(values) else 0.0


def hit_rate(ranks: Ranks, k: int) -> float:
    """Share of cases whose item is among the first k; also Recall@k, with one relevant item a case."""
    return figure(ranks, "hr", k)


recall = hit_rate


def mrr(ranks: Ranks, k: int) -> float:
    """Mean reciprocal rank at k."""
    return figure(ranks, "mrr", k)


def ndcg(ranks: Ranks, k: int) -> float:
    """Normalised discounted cumulative gain at k: 1 / log2(rank + 1) for each hit."""
    return figure(ranks, "ndcg", k)


def summary(ranks: Ranks, k: int | Iterable[int]) -> dict[str, float]:
    """Return every metric at k, or at each of several k, by names such as `mrr@20`."""
    several = (k,) if isinstance(k, int) else k
    return {f"{metric}@{at}": figure(ranks, metric, at) for at in several for metric in METRICS}
