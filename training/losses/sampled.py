"""Losses over shared negatives, as functions of the scores.

Each takes the score of every target, those of all negatives for every target, and where a negative is that very
target: such collisions are masked, in every loss. Each returns one loss for each target, `[T]`; the scores come from
one matrix product, and no loss needs another.

Shape suffixes, this file only:
    T targets    N negatives, shared by all targets
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softplus


def sampled_softmax(
    positive_T: Tensor, negative_TN: Tensor, collisions_TN: Tensor, log_expected_N: Tensor | None
) -> Tensor:
    """Return the cross-entropy of the targets against the negatives.

    With `log_expected_N`, a negative's score is lowered by the log of how often it is expected in the draw (logQ), so
    that the sum over negatives is an unbiased estimate of the sum over all items but the target (Bengio and Senécal,
    2008, https://doi.org/10.1109/TNN.2007.912312). The target is always there and takes no correction; a draw that
    hits it is masked, for that item is already counted.
    """
    if log_expected_N is not None:
        negative_TN = negative_TN - log_expected_N
    negative_TN = negative_TN.masked_fill(collisions_TN, -torch.inf)
    return torch.logsumexp(torch.cat([positive_T[:, None], negative_TN], dim=1), dim=1) - positive_T


def binary(positive_T: Tensor, negative_TN: Tensor, collisions_TN: Tensor, beta: float = 1.0) -> Tensor:
    """Return the binary cross-entropy, the mean over the target and the negatives that are not it.

    With `beta` the target's probability is sigmoid(score)^beta, which is gBCE (gSASRec, Petrov and Macdonald,
    RecSys 2023, https://doi.org/10.1145/3604915.3608783): sampling makes a model too sure of its scores, and
    `gbce_beta` takes that back. The log of that power is `beta` times a log-sigmoid: nothing over- or underflows.
    """
    negative_TN = softplus(negative_TN).masked_fill(collisions_TN, 0.0)
    compared_T = 1 + (~collisions_TN).sum(dim=1)
    return (negative_TN.sum(dim=1) - beta * logsigmoid(positive_T)) / compared_T


def gbce_beta(t: float, sampling_rate: float) -> float:
    """Return gBCE's beta = a (t (1 - 1/a) + 1/a) for the share a of the other items that is drawn.

    It is 1 for t = 0 and a for t = 1; written without the 1/a. More draws than items count as all of them.
    """
    return 1 - t * (1 - min(1.0, sampling_rate))


def bpr_max(positive_T: Tensor, negative_TN: Tensor, collisions_TN: Tensor, regularization: float) -> Tensor:
    """Return BPR-max: how far a target is from being above the negatives, each weighted by its softmax among them.

    -log sum_j s_j sigmoid(r - r_j) + regularization * sum_j s_j r_j^2 with s = softmax of the negatives (Hidasi and
    Karatzoglou, CIKM 2018, https://doi.org/10.1145/3269206.3271761). A target without negatives costs 0.
    """
    # A row of nothing but -inf has no softmax, and its gradient would be no number even if the loss is not used.
    alone_T = collisions_TN.all(dim=1)
    masked_TN = collisions_TN & ~alone_T[:, None]
    log_weight_TN = log_softmax(negative_TN.masked_fill(masked_TN, -torch.inf), dim=1)
    above_T = torch.logsumexp(log_weight_TN + logsigmoid(positive_T[:, None] - negative_TN), dim=1)
    height_T = (log_weight_TN.exp() * negative_TN.square()).sum(dim=1)
    return (regularization * height_T - above_T).masked_fill(alone_T, 0.0)
