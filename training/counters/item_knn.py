"""Item kNN: items that were in the same sessions.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001, with the two exponents and the
shrinkage of GRU4Rec's baseline (Hidasi et al., ICLR 2016): `algorithms/knn/iknn.py` of rn5l/session-rec.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from serving.counters import ItemRules, ItemRulesParameters
from serving.counters.arrays import Floats, offsets, spread
from serving.settings import MAX_SESSION_LENGTH
from training.checks import above, at_least, at_most, within
from training.counters.ages import half_lives
from training.counters.clicks import PAIRS_AT_ONCE, Clicks, Pairs, count_pairs, flatten, newest_distinct, strongest
from training.data.sequences import Rows


@dataclass(frozen=True, kw_only=True)
class ItemKnnConfig:
    """How similarities are counted and looked up."""

    alpha: float = 0.5
    """The sessions with both i and j are divided by (n_i + shrinkage)^alpha (n_j + shrinkage)^(1 - alpha), i the item
    that votes: 0.5 is the cosine, 1 the share of i's sessions, 0 favours the rarest."""
    shrinkage: float = 20.0
    """Added to both counts, so that rare items are not alike by chance."""
    window: int = 20
    """The last events of a session, whose known items are looked up."""
    decay: float = 0.8
    """Each counts by this to the power of its distance from the end."""
    followers: int = 100
    """An item keeps the most similar so many."""
    longest: int = 50
    """Only the newest so many distinct items of a training session count."""
    half_life_days: float | None = None
    """A session counts half as much as one so many days later; None: all alike."""

    def __post_init__(self) -> None:
        within(1, MAX_SESSION_LENGTH, window=self.window)
        at_least(1, followers=self.followers, longest=self.longest)
        at_least(0, alpha=self.alpha, shrinkage=self.shrinkage)
        above(0, decay=self.decay)
        at_most(1, decay=self.decay)
        if self.half_life_days is not None:
            above(0, half_life_days=self.half_life_days)


def fit_item_knn(
    sequences: Sequence[Rows], items: int, config: ItemKnnConfig | None = None, *, ends_ms: Rows | None = None
) -> ItemRules:
    """Count which items were in the same sessions.

    Args:
        sequences: item rows of each session, oldest first, 0 where unknown.
        items: the size of the catalogue.
        config: how to count and to look up.
        ends_ms: when each session ended, UTC epoch milliseconds, `[n]`; a half-life needs it.

    Raises:
        WrongUse: there is a half-life, and no `ends_ms`.

    """
    config = config or ItemKnnConfig()
    weights = half_lives(config.half_life_days, ends_ms, len(sequences))
    clicks = newest_distinct(flatten(sequences), config.longest)
    pairs = count_pairs(_together(clicks, weights, len(sequences)), items)
    support = np.bincount(clicks.row, weights[clicks.session], minlength=items + 1) + config.shrinkage
    scale = support[pairs.first] ** config.alpha * support[pairs.second] ** (1 - config.alpha)
    similar = Pairs(pairs.first, pairs.second, pairs.weight / scale)
    parameters = ItemRulesParameters(window=config.window, decay=config.decay)
    return ItemRules(parameters, *strongest(similar, items, config.followers))


def _together(clicks: Clicks, weights: Floats, sessions: int) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Yield all pairs of different items of a session, both ways, for some sessions at a time."""
    sizes = np.bincount(clicks.session, minlength=sessions)
    begin = offsets(sizes)[:-1]
    part = np.cumsum(sizes[clicks.session]) // PAIRS_AT_ONCE
    for some in np.split(np.arange(len(clicks.row)), np.flatnonzero(np.diff(part)) + 1):
        session = clicks.session[some]
        first = np.repeat(clicks.row[some], sizes[session])
        second = clicks.row[spread(begin[session], sizes[session])]
        weight = np.repeat(weights[session], sizes[session])
        different = first != second
        yield first[different], second[different], weight[different]
