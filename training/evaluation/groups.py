"""Figures of a part of the cases: by how popular the clicked item was in training, and for cold items."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.ranks import Ranks, figure
from training.evaluation.cases import Ints

GROUP_METRICS = ("recall", "mrr", "ndcg")

Counts = npt.NDArray[np.integer] | npt.NDArray[np.floating]


@dataclass(frozen=True)
class Group:
    """A part of the cases: those whose item is one of `items` items."""

    name: str
    items: int
    cases: npt.NDArray[np.bool_]
    """Which of the cases, `[n]`."""

    def figures(self, ranks: Ranks, k: int) -> dict[str, float | int | str]:
        """Return the group's size, and its recall, MRR and NDCG at k."""
        own = ranks[self.cases]
        return {
            "group": self.name,
            "items": self.items,
            "cases": len(own),
            **{f"{metric}@{k}": figure(own, metric, k) for metric in GROUP_METRICS},
        }


def popularity_deciles(clicks: Counts) -> Ints:
    """Return each item's decile of training clicks, `[N + 1]`, 1 with the most clicked; 0 for items without clicks.

    Items are taken from the most to the least clicked (equals by row); decile d begins with the first item that has
    (d - 1) tenths of all training clicks before it. So each holds about a tenth of the clicks, the first by few items.
    """
    counts = np.array(clicks, dtype=np.float64)
    counts[0] = 0
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    deciles = np.zeros(len(counts), dtype=np.int64)
    deciles[order] = 1 + np.floor(10 * before / max(counts.sum(), 1.0)).astype(np.int64)
    deciles[counts == 0] = 0
    return deciles


def popularity_groups(targets: Ints, clicks: Counts, cold_below: int) -> Iterator[Group]:
    """Yield the ten deciles that have items, then `cold`: fewer than `cold_below` training clicks, unknown included.

    `targets` are the rows of the cases, 0 where training does not know the item; `clicks` `[N + 1]` counts each
    item's training clicks. Cold items are in a decile too, but unknown ones are not.
    """
    deciles = popularity_deciles(clicks)
    for decile in range(1, 11):
        if items := int((deciles == decile).sum()):
            yield Group(f"decile {decile}", items, deciles[targets] == decile)
    cold = np.asarray(clicks) < cold_below
    cold[0] = True
    yield Group("cold", int(cold[1:].sum()), cold[targets])
