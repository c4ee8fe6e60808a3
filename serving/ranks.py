"""The arithmetic of the ranking metrics, from ranks alone; the live metrics and the evaluator both use it.

A rank is the place, from 1, of the one relevant item (the next click) among the candidates, 0 where it is not among
them. One relevant item a case makes Recall@k the hit rate, Precision@k a k-th of it, and the ideal DCG 1.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Ranks = npt.NDArray[np.int64]


def _found(ranks: Ranks, k: int) -> npt.NDArray[np.bool_]:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return (ranks >= 1) & (ranks <= k)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def hit_rate(ranks: Ranks, k: int) -> float:
    """Share of cases whose item is among the first k; also Recall@k, with one relevant item a case."""
    return _mean(_found(ranks, k).astype(np.float64))


recall = hit_rate


def precision(ranks: Ranks, k: int) -> float:
    """Share of the first k places that are relevant."""
    return hit_rate(ranks, k) / k


def f1(ranks: Ranks, k: int) -> float:
    """Harmonic mean of precision and recall at k, case by case: 2 / (k + 1) for each hit."""
    return 2 * hit_rate(ranks, k) / (k + 1)


def reciprocal_rank(rank: int, k: int) -> float:
    """Return 1 / rank for an item among the first k, else 0."""
    return 1.0 / rank if 1 <= rank <= k else 0.0


def mrr(ranks: Ranks, k: int) -> float:
    """Mean reciprocal rank at k."""
    return _mean(np.where(_found(ranks, k), 1.0 / np.maximum(ranks, 1), 0.0))


def ndcg(ranks: Ranks, k: int) -> float:
    """Normalised discounted cumulative gain at k: 1 / log2(rank + 1) for each hit."""
    return _mean(np.where(_found(ranks, k), 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0))


def coverage(lists: Iterable[Sequence[object]], k: int, item_count: int) -> float:
    """Share of the catalogue that appears among the first k of any list."""
    shown: set[object] = set()
    for items in lists:
        shown.update(items[:k])
    return len(shown) / item_count if item_count else 0.0


def summary(ranks: Ranks, k: int) -> dict[str, float]:
    """Return all of the above that need ranks only, by the names that reports use."""
    return {
        f"recall@{k}": recall(ranks, k),
        f"hr@{k}": hit_rate(ranks, k),
        f"ndcg@{k}": ndcg(ranks, k),
        f"mrr@{k}": mrr(ranks, k),
        f"precision@{k}": precision(ranks, k),
        f"f1@{k}": f1(ranks, k),
    }
