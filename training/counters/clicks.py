"""Training sessions as flat arrays, and pairs of items counted in them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.counters.arrays import Floats, group, offsets, spread
from training.data.sequences import Rows

Weights = npt.NDArray[np.float64]

# So many pairs are counted at once: some 200 MB.
PAIRS_AT_ONCE = 4_000_000


class Clicks(NamedTuple):
    """Clicks on known items, session by session: `session`, `row` and the `place` in its session, each `[m]`."""

    session: Rows
    row: Rows
    place: Rows


def flatten(sequences: Sequence[Rows]) -> Clicks:
    """Put sessions one after the other; row 0 is no item, and has no place."""
    row = np.concatenate([*sequences, np.zeros(0, np.int64)])
    session = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    session, row = session[row > 0], row[row > 0]
    sizes = np.bincount(session, minlength=len(sequences))
    return Clicks(session, row, np.arange(len(row)) - np.repeat(offsets(sizes)[:-1], sizes))


def newest_distinct(clicks: Clicks, longest: int) -> Clicks:
    """Keep the last click on each item of a session, and of these the `longest` newest."""
    if len(clicks.row) == 0:
        return clicks
    rows = int(clicks.row.max()) + 1
    order, first = group(clicks.session * rows + clicks.row, (int(clicks.session[-1]) + 1) * rows)
    last = np.append(np.flatnonzero(first)[1:], len(order)) - 1
    kept = np.sort(order[last])
    ends = np.cumsum(np.bincount(clicks.session[kept]))
    kept = kept[ends[clicks.session[kept]] - np.arange(len(kept)) <= longest]
    return Clicks(*(values[kept] for values in clicks))


class Pairs(NamedTuple):
    """Distinct pairs of rows in ascending order, and the sum of each one's weights."""

    first: Rows
    second: Rows
    weight: Weights


def count_pairs(parts: Iterable[tuple[Rows, Rows, Floats]], items: int) -> Pairs:
    """Add up the weights of pairs of rows, given in parts of which one at a time is in memory beside the sums."""
    keys, sums = np.zeros(0, np.int64), np.zeros(0)
    for first, second, weight in parts:
        found, totals = _sums(first * (items + 1) + second, np.asarray(weight, np.float64), items)
        keys, sums = _sums(np.concatenate([keys, found]), np.concatenate([sums, totals]), items)
    return Pairs(keys // (items + 1), keys % (items + 1), sums)


def strongest(pairs: Pairs, items: int, most: int) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
    """Keep each first row's `most` heaviest pairs, ties by row.

    Returns where each row's list begins, `[items + 2]`, and the lists: second rows, heaviest first, and weights.
    Weights that are not above zero are left out.
    """
    weight = pairs.weight.astype(np.float32)
    # The bits of a float32 above zero keep its order, so row and weight make one number; the sort is stable.
    key = (pairs.first << 32) | (2**31 - 1 - weight.view(np.int32).astype(np.int64))
    order = np.argsort(key, kind="stable")
    order = order[weight[order] > 0]
    sizes = np.bincount(pairs.first[order], minlength=items + 1)
    kept = np.minimum(sizes, most)
    order = order[spread(np.cumsum(sizes) - sizes, kept)]
    return offsets(kept), pairs.second[order], weight[order]


def _sums(keys: Rows, weights: Weights, items: int) -> tuple[Rows, Weights]:
    order, first = group(keys, (items + 1) ** 2)
    if len(order) == 0:
        return keys, weights
    sums: Weights = np.bincount(np.cumsum(first) - 1, weights[order]).astype(np.float64)
    return keys[order[first]], sums
