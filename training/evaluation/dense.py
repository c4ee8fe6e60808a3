"""Ranks over the whole catalogue from dense scores: no index, no list, no session state."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.ranks import Ranks
from serving.settings import Exclude
from training.evaluation.cases import Cases, Ints
from training.evaluation.scorers import Scorer

# One batch's scores stay near 64 MB, whatever the catalogue's size.
_BATCH_SCORES = 8_000_000


@dataclass(frozen=True)
class Evaluated:
    """How a model did: `ranks` `[n]`, from 1, 0 where the item cannot be in a list; `top` `[n, k]` rows, best first.

    A place of `top` holds 0 where the model has fewer than k items to offer.
    """

    ranks: Ranks
    top: Ints


def evaluate_dense(scorer: Scorer, cases: Cases, item_count: int, *, exclude: Exclude, k: int) -> Evaluated:
    """Score every item for every case and rank the one that was clicked.

    Ties are counted against the model: an item's rank is the number of items that score at least as much as it, so a
    model that scores all alike finds nothing. Items that `exclude` names are no candidates; an excluded or unknown
    target has rank 0.
    """
    ranks = np.zeros(len(cases), dtype=np.int64)
    top = np.zeros((len(cases), k), dtype=np.int64)
    targets, current = cases.targets, cases.current
    for part in cases.batches(max(1, _BATCH_SCORES // (item_count + 1))):
        contexts = cases.contexts(part.start, part.stop)
        scores = np.array(scorer.scores(contexts))
        scores[:, 0] = -np.inf
        if exclude == "current":
            scores[np.arange(len(contexts)), current[part]] = -np.inf
        elif exclude == "seen":
            for row, context in enumerate(contexts):
                scores[row, context.events.rows] = -np.inf
        ranks[part] = pessimistic_ranks(scores, targets[part])
        top[part] = top_rows(scores, k)
    return Evaluated(ranks, top)


def pessimistic_ranks(scores: npt.NDArray[np.floating], targets: Ints) -> Ranks:
    """Return each target's rank among scores `[B, N + 1]`, after all that score the same; 0 if its own is -inf."""
    own = scores[np.arange(len(targets)), targets][:, None]
    ranks: Ranks = (scores >= own).sum(axis=1, dtype=np.int64)
    return np.where(np.isneginf(own[:, 0]), 0, ranks)


def top_rows(scores: npt.NDArray[np.floating], k: int) -> Ints:
    """Return the k best rows `[B, k]`, best first, ties by row, 0 where fewer are candidates."""
    best = np.zeros((len(scores), k), dtype=np.int64)
    for row, line in enumerate(scores):
        # All that could be among the first k, ties at the border included.
        border = np.partition(line, -k)[-k] if k < len(line) else -np.inf
        candidates = np.flatnonzero((line >= border) & ~np.isneginf(line))
        chosen = candidates[np.lexsort((candidates, -line[candidates]))][:k]
        best[row, : len(chosen)] = chosen
    return best
