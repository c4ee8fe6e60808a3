"""How popularity is counted: clicks, of which older ones may count less."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.counters import Popularity, PopularityParameters
from training.checks import above, at_least
from training.counters.ages import half_lives
from training.data.sequences import Rows


@dataclass(frozen=True, kw_only=True)
class PopularityConfig:
    """How clicks are counted."""

    half_life_days: float | None = None
    """A click counts half as much as one so many days later; None: all alike."""
    most: int = 1_000
    """Only so many items get votes."""

    def __post_init__(self) -> None:
        at_least(1, most=self.most)
        if self.half_life_days is not None:
            above(0, half_life_days=self.half_life_days)


def fit_popularity(
    sequences: Sequence[Rows],
    items: int,
    config: PopularityConfig | None = None,
    *,
    times_ms: Sequence[Rows] | None = None,
) -> Popularity:
    """Count the clicks of training sessions; scores are shares of all that was counted.

    Args:
        sequences: item rows of each session, oldest first, 0 where unknown.
        items: the size of the catalogue.
        config: how to count.
        times_ms: of each session's clicks, UTC epoch milliseconds; a half-life needs it.

    Raises:
        WrongUse: there is a half-life, and no `times_ms`.

    """
    config = config or PopularityConfig()
    rows = np.concatenate([*sequences, np.zeros(0, np.int64)])
    times = None if times_ms is None else np.concatenate([*times_ms, np.zeros(0, np.int64)])
    weights = np.where(rows > 0, half_lives(config.half_life_days, times, len(rows)), 0)
    counts = np.bincount(rows, weights, minlength=items + 1)
    scores = (counts / max(float(counts.sum()), 1e-300)).astype(np.float32)
    best = np.argsort(-scores, kind="stable")[: config.most]
    kept = np.sort(best[scores[best] > 0])
    return Popularity(PopularityParameters(), kept, scores[kept])
