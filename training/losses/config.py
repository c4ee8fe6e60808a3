"""Which loss a recipe trains with, and what it compares the true next items with."""

from dataclasses import dataclass
from typing import Literal

from training.checks import at_least, within


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Which loss a recipe trains with."""

    kind: Literal["softmax", "sampled-softmax", "gbce", "bpr-max", "bce"] = "sampled-softmax"
    """"softmax" compares with the whole catalogue, the others with negatives that a batch's targets share."""
    negatives: int = 1024
    """Negatives of a batch; "in-batch" has as many as the batch has targets, whatever is said here."""
    source: Literal["uniform", "popularity", "in-batch", "mixed"] = "popularity"
    """Drawn from the catalogue alike or by popularity^alpha, or the batch's own targets, or some of both."""
    alpha: float = 0.5
    """The exponent of "popularity" and "mixed": 0 draws all items alike, 1 by their clicks."""
    drawn: float = 0.5
    """Share of "mixed" negatives that is drawn by popularity^alpha; the rest are targets of the batch."""
    logq: bool = True
    """Have the sampled softmax correct the scores of negatives for how often they are drawn."""
    t: float = 0.75
    """gBCE's calibration: 0 is plain BCE, 1 undoes all of the bias that comes from sampling."""
    regularization: float = 1.0
    """BPR-max's weight of squared scores. Cosines divided by a temperature are large and want a small one."""
    max_scores: int = 2**23
    """Scores, targets times items, that a loss makes at once; the targets of a larger batch take turns. This size is
    also about the quickest for a full softmax, whose scores then stay near the processor: 32 MiB."""

    def __post_init__(self) -> None:
        at_least(1, negatives=self.negatives, max_scores=self.max_scores)
        at_least(0, alpha=self.alpha, regularization=self.regularization)
        within(0, 1, drawn=self.drawn, t=self.t)
