"""Losses: how far a session vector is from preferring the true next item over the others.

All are means over targets. The loop picks the targets out by an explicit mask before it calls, so a position without
a target neither costs nor counts, and a perfectly predicted one still counts.

Shape suffixes, this file only:
    T targets of a batch    N negatives, shared by all targets    D width    V catalogue + 1 (row 0 is padding)
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.checks import at_least
from training.models import SessionEncoder
from training.negatives import Negatives


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Which loss a recipe trains with."""

    negatives: int = 1024
    """Items drawn for each batch, shared by its targets; 0 compares with the whole catalogue (full softmax)."""
    alpha: float = 0.5
    """Negatives are drawn with probability popularity^alpha; 0 is uniform."""
    logq: bool = True
    """Correct the scores of negatives for how often they are drawn."""

    def __post_init__(self) -> None:
        at_least(0, negatives=self.negatives, alpha=self.alpha)


def full_softmax(vectors_TD: Tensor, targets_T: Tensor, items_VD: Tensor, scale: float) -> Tensor:
    """Return the mean cross-entropy of the targets over the whole catalogue.

    `targets_T` is int64 rows, none of them 0. The `[T, V]` scores are made in one matrix product.
    """
    scores_TV = scale * (vectors_TD @ items_VD[1:].T)
    return functional.cross_entropy(scores_TV, targets_T - 1)


def sampled_softmax(
    vectors_TD: Tensor,
    targets_T: Tensor,
    targets_TD: Tensor,
    negatives_N: Tensor,
    negatives_ND: Tensor,
    log_q_N: Tensor | None,
    scale: float,
) -> Tensor:
    """Return the mean cross-entropy of the targets against shared negatives.

    `targets_T` and `negatives_N` are int64 rows, `targets_TD` and `negatives_ND` their vectors, `log_q_N` the log
    probability with which each negative was drawn.

    With logQ, a negative's score is lowered by the log of how often it is expected in the draw, so that the sum over
    negatives is an unbiased estimate of the sum over all items but the target (Bengio and Senécal, 2008,
    https://doi.org/10.1109/TNN.2007.912312). The target is always there and takes no correction; a draw that hits it
    is masked, for that item is already counted.
    """
    positive_T = scale * (vectors_TD * targets_TD).sum(dim=1)
    negative_TN = scale * (vectors_TD @ negatives_ND.T)
    if log_q_N is not None:
        negative_TN = negative_TN - (log_q_N + torch.tensor(float(len(negatives_N))).log())
    collisions_TN = targets_T[:, None] == negatives_N[None, :]
    negative_TN = negative_TN.masked_fill(collisions_TN, -torch.inf)
    return (torch.logsumexp(torch.cat([positive_T[:, None], negative_TN], dim=1), dim=1) - positive_T).mean()


class Loss:
    """The loss of a recipe, ready to be called for each batch."""

    def __init__(self, config: LossConfig, popularity_V: Tensor) -> None:
        self._config = config
        self._negatives = Negatives(popularity_V, config.alpha) if config.negatives else None

    def __call__(
        self, encoder: SessionEncoder, vectors_TD: Tensor, targets_T: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean loss over the targets: session vectors `[T, D]` and the rows that came next, `[T]`."""
        if self._negatives is None:
            return full_softmax(vectors_TD, targets_T, encoder.item_vectors(), encoder.scale)
        negatives_N = self._negatives.draw(self._config.negatives, generator)
        # One lookup for both, so that one gradient goes back into the table.
        items_XD = encoder.score_vectors(torch.cat([targets_T, negatives_N]))
        return sampled_softmax(
            vectors_TD,
            targets_T,
            items_XD[: len(targets_T)],
            negatives_N,
            items_XD[len(targets_T) :],
            self._negatives.log_q_V[negatives_N] if self._config.logq else None,
            encoder.scale,
        )
