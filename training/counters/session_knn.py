"""Session kNN: what is kept of the training sessions. The papers are named in `serving.counters.session_knn`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from serving.counters import SessionKnn, SessionKnnParameters
from serving.counters.arrays import group, offsets, spread
from serving.counters.session_knn import MOST_SAMPLED
from serving.settings import MAX_SESSION_LENGTH
from training.checks import above, at_least, at_most, within
from training.counters.ages import half_lives
from training.counters.clicks import Clicks, flatten, newest_distinct
from training.data.sequences import Rows


@dataclass(frozen=True, kw_only=True)
class SessionKnnConfig:
    """How neighbours are found and what they say; the defaults are VMIS-kNN. `VSKNN` and `VSTAN` are others.

    What is not explained here is in `serving.counters.SessionKnnParameters`.
    """

    window: int = 9
    neighbours: int = 100
    sample: int = 500
    recency: Literal["linear", "exponential"] = "linear"
    recency_scale: float = 1.0
    similarity: Literal["dot", "cosine"] = "dot"
    power: float = 1.0
    match: Literal["same", "linear", "reciprocal", "exponential"] = "linear"
    match_scale: float = 1.0
    nearby_scale: float | None = None
    idf: float = 1.0
    """An item's votes are multiplied by 1 + idf * ln(training sessions / those with the item). Serenade's own weight,
    ln(clicks / sessions with the item), is this one's multiple for idf = 1 / ln(mean distinct items of a session)."""
    rarity: float = 0.0
    """They are also divided by the number of training sessions with the item to this power."""
    half_life_days: float | None = None
    """A session counts half as much as one so many days later; None: all alike. STAN's e^(-age / scale) is this one for
    a half-life of scale * ln 2."""
    longest: int = 100
    """Only the newest so many distinct items of a training session are kept."""

    def __post_init__(self) -> None:
        within(1, MAX_SESSION_LENGTH, window=self.window)
        at_least(1, neighbours=self.neighbours, sample=self.sample, longest=self.longest)
        at_least(0, idf=self.idf, rarity=self.rarity)
        at_most(MOST_SAMPLED, sample=self.sample)
        above(0, power=self.power, recency_scale=self.recency_scale, match_scale=self.match_scale)
        if self.nearby_scale is not None:
            above(0, nearby_scale=self.nearby_scale)
        if self.half_life_days is not None:
            above(0, half_life_days=self.half_life_days)


VSKNN = SessionKnnConfig(window=50, match="reciprocal")
VMIS_KNN = SessionKnnConfig()
VSTAN = SessionKnnConfig(
    window=50,
    neighbours=500,
    sample=2500,
    recency="exponential",
    recency_scale=1.02,
    similarity="cosine",
    match="exponential",
    match_scale=1.02,
    nearby_scale=2.05,
    idf=5.0,
)
"""The defaults of session-rec's `vstan`, but for the session's age, which needs times: `half_life_days`."""


def fit_session_knn(
    sequences: Sequence[Rows], items: int, config: SessionKnnConfig | None = None, *, ends_ms: Rows | None = None
) -> SessionKnn:
    """Keep the training sessions that can be neighbours: among the newest `sample` of one of their items.

    Args:
        sequences: item rows of each session, oldest first, 0 where unknown.
        items: the size of the catalogue.
        config: how neighbours are found and what they say.
        ends_ms: when each session ended, UTC epoch milliseconds, `[n]`; None: in the order of the sequences.

    Raises:
        WrongUse: there is a half-life, and no `ends_ms`.

    """
    config = config or SessionKnnConfig()
    weights = half_lives(config.half_life_days, ends_ms, len(sequences))
    if ends_ms is not None:
        order = np.argsort(ends_ms, kind="stable")
        sequences, weights = [sequences[place] for place in order.tolist()], weights[order]
    clicks = newest_distinct(flatten(sequences), config.longest)
    with_item = np.maximum(np.bincount(clicks.row, minlength=items + 1), 1)
    item_weights = (1 + config.idf * np.log(max(len(sequences), 1) / with_item)) / with_item**config.rarity
    clicks = _reachable(clicks, items, config.sample)
    kept, session = np.unique(clicks.session, return_inverse=True)
    return SessionKnn(
        _parameters(config),
        offsets(np.bincount(session, minlength=len(kept))),
        clicks.row,
        clicks.place if config.nearby_scale is not None else None,
        weights[kept].astype(np.float32),
        item_weights.astype(np.float32),
    )


def _parameters(config: SessionKnnConfig) -> SessionKnnParameters:
    return SessionKnnParameters(
        window=config.window,
        neighbours=config.neighbours,
        sample=config.sample,
        recency=config.recency,
        recency_scale=config.recency_scale,
        similarity=config.similarity,
        power=config.power,
        match=config.match,
        match_scale=config.match_scale,
        nearby_scale=config.nearby_scale,
    )


def _reachable(clicks: Clicks, items: int, sample: int) -> Clicks:
    """Leave out the sessions of which no item has fewer than `sample` newer ones."""
    order, _ = group(clicks.row, items + 1)
    sizes = np.bincount(clicks.row, minlength=items + 1)
    newest = np.minimum(sizes, sample)
    found = np.zeros(int(clicks.session.max(initial=-1)) + 1, np.bool_)
    found[clicks.session[order[spread(np.cumsum(sizes) - newest, newest)]]] = True
    return Clicks(*(values[found[clicks.session]] for values in clicks))
