"""Ranks over the whole catalogue from dense scores: no index, no list, no session state."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.ranks import Ranks
from serving.settings import Exclude, left_out
from training.data.sequences import Rows
from training.evaluation.cases import Cases, Ints
from training.evaluation.scorers import Scorer

# One batch's scores stay near 32 MB (float32), whatever the catalogue's size.
_BATCH_SCORES = 8_000_000

# The best of each so many neighbouring scores bound the k-th best of all from below.
_BLOCK = 64

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Evaluated:
    """How a model did: `ranks` `[n]`, from 1, 0 where the item cannot be in a list; `top` `[n, k]` rows, best first.

    A place of `top` holds 0 where the model has fewer than k items to offer; k is 0 where no lists were asked for.
    """

    ranks: Ranks
    top: Ints


def evaluate_dense(scorer: Scorer, cases: Cases, item_count: int, *, exclude: Exclude, k: int = 0) -> Evaluated:
    """Score every item for every case and rank the one that was clicked; with k, make the lists of the k best too.

    Ties are counted against the model: an item's rank is the number of items that do not score less than it, so a
    model that scores all alike finds nothing, and one that scores NaN neither. Items that `exclude` names are no
    candidates; an excluded or unknown target has rank 0. Scores that the scorer gives are written to, unless they are
    read-only (which costs a copy): a scorer gives a fresh array each time.
    """
    ranks = np.zeros(len(cases), dtype=np.int64)
    top = np.zeros((len(cases), k), dtype=np.int64)
    targets = cases.targets
    for part in cases.batches(max(1, _BATCH_SCORES // (item_count + 1))):
        contexts = cases.contexts(part.start, part.stop)
        scores: Scores = np.require(scorer.scores(contexts), requirements=["C", "W"])
        scores[:, 0] = -np.inf
        _leave_out(scores, [_last(context.events.rows, exclude) for context in contexts])
        ranks[part] = pessimistic_ranks(scores, targets[part])
        if k:
            top[part] = top_rows(scores, k)
    return Evaluated(ranks, top)


def pessimistic_ranks(scores: Scores, targets: Ints) -> Ranks:
    """Return each target's rank among scores `[B, N + 1]`, after all that score the same; 0 if its own is -inf."""
    own = scores[np.arange(len(targets)), targets]
    # Line by line the comparison stays in the cache, and numpy counts the bits of one line, but not of an axis, fast.
    better = [line.size - np.count_nonzero(line < mine) for line, mine in zip(scores, own, strict=True)]
    return np.where(np.isneginf(own), 0, np.array(better, dtype=np.int64))


def top_rows(scores: Scores, k: int) -> Ints:
    """Return the k best rows `[B, k]`, best first, ties by row, 0 where fewer are candidates; NaN is none."""
    best = np.zeros((len(scores), k), dtype=np.int64)
    for row, (line, border) in enumerate(zip(scores, _borders(scores, k), strict=True)):
        candidates = np.flatnonzero(line >= border)
        if np.isneginf(border):
            candidates = candidates[~np.isneginf(line[candidates])]
        found = line[candidates]
        if len(found) > 4 * k + _BLOCK:
            # Many ties, or many blocks of which one holds several of the best.
            border = np.partition(found, -k)[-k]
            candidates, found = candidates[found >= border], found[found >= border]
        # Stable, so ties stay in the order of their rows.
        chosen = candidates[np.argsort(-found, kind="stable")][:k]
        best[row, : len(chosen)] = chosen
    return best


def _borders(scores: Scores, k: int) -> npt.NDArray[np.floating]:
    """Return a score for each line that at least k items reach, or all of them."""
    blocks = scores.shape[1] // _BLOCK
    if k >= blocks:
        return np.full(len(scores), -np.inf, dtype=scores.dtype)
    # fmax, as a NaN would hide its block.
    maxima = np.fmax.reduce(scores[:, : blocks * _BLOCK].reshape(len(scores), blocks, _BLOCK), axis=2)
    return np.asarray(np.partition(np.nan_to_num(maxima, nan=-np.inf), blocks - k, axis=1)[:, blocks - k])


def _last(rows: Rows, exclude: Exclude) -> Rows:
    return rows[len(rows) - left_out(exclude, len(rows)) :]


def _leave_out(scores: Scores, prefixes: list[Rows]) -> None:
    lengths = [len(rows) for rows in prefixes]
    scores[np.repeat(np.arange(len(prefixes)), lengths), np.concatenate(prefixes)] = -np.inf
