"""Figures of the lists themselves: how much of the catalogue they show, how evenly, how known, how alike.

Lists are item rows `[n, k]`, best first, 0 where a list is shorter; `items` is the size of the catalogue.
"""

import numpy as np
import numpy.typing as npt

from training.evaluation.cases import Ints

Floats = npt.NDArray[np.floating]
Counts = npt.NDArray[np.integer] | npt.NDArray[np.floating]

# Item vectors of so many lists are gathered at once.
_LISTS = 2048


def coverage(top: Ints, items: int) -> float:
    """Share of the catalogue that is in any list."""
    return len(np.unique(top[top > 0])) / items if items else 0.0


def gini(top: Ints, items: int) -> float:
    """Gini coefficient of how often each item of the catalogue is in a list, those in none included.

    0 where all are shown equally often, near 1 where one item takes every place; 0 where nothing is shown.
    """
    shown = np.sort(np.bincount(top[top > 0], minlength=items + 1)[1:]).astype(np.float64)
    if not shown.any():
        return 0.0
    place = np.arange(1, items + 1)
    return float(((2 * place - items - 1) * shown).sum() / (items * shown.sum()))


def novelty(top: Ints, clicks: Counts) -> float:
    """Mean self-information of the shown items, in bits: -log2 of an item's share of the training clicks.

    `clicks` `[N + 1]` counts each item's training clicks; an item without any counts as one with one. The mean is
    taken in each list first. Zhou et al., PNAS 107(10), 2010, https://doi.org/10.1073/pnas.1000488107.
    """
    total = max(float(clicks.sum()), 1.0)
    bits = np.log2(total / np.maximum(clicks.astype(np.float64), 1.0))
    shown = top > 0
    return _mean_of_lists(np.where(shown, bits[top], 0.0).sum(axis=1), shown.sum(axis=1))


def intra_list_diversity(top: Ints, vectors: Floats) -> float:
    """Mean of 1 - cosine over all pairs of a list's items, then over the lists of two items and more.

    `vectors` are the item vectors `[N + 1, D]`; a zero vector is as far from all others as a right angle. Ziegler et
    al., WWW 2005, https://doi.org/10.1145/1060745.1060754.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    unit = (vectors / np.maximum(lengths, np.finfo(np.float64).tiny)[:, None]).astype(np.float32)
    unit[0] = 0
    own = np.einsum("nd,nd->n", unit, unit, dtype=np.float64)
    alike = np.zeros(len(top))
    for begin in range(0, len(top), _LISTS):
        lists = top[begin : begin + _LISTS]
        # |sum of u|^2 is the sum of all inner products, those of each vector with itself included.
        total = unit[lists].sum(axis=1).astype(np.float64)
        alike[begin : begin + _LISTS] = np.einsum("nd,nd->n", total, total) - own[lists].sum(axis=1)
    count = (top > 0).sum(axis=1)
    pairs = count * (count - 1)
    return _mean_of_lists(pairs - alike, pairs)


def list_figures(
    top: Ints, ks: tuple[int, ...], items: int, clicks: Counts, vectors: Floats | None
) -> dict[str, float]:
    """Return these metrics of the first k places, for each k, by names such as `gini@20`.

    Without item vectors there is no diversity.
    """
    found: dict[str, float] = {}
    for k in ks:
        lists = top[:, :k]
        found[f"coverage@{k}"] = coverage(lists, items)
        found[f"gini@{k}"] = gini(lists, items)
        found[f"novelty@{k}"] = novelty(lists, clicks)
        if vectors is not None:
            found[f"diversity@{k}"] = intra_list_diversity(lists, vectors)
    return found


def _mean_of_lists(sums: Floats, counts: Ints) -> float:
    """Return the mean of each list's own mean; lists without anything to count are left out."""
    some = counts > 0
    return float((sums[some] / counts[some]).mean()) if some.any() else 0.0
