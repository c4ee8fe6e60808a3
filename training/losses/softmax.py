"""The full softmax: each target against the whole catalogue, a portion of the targets at a time.

Shape suffixes, this file only:
    T targets of a batch    C targets of a portion    D width    V items compared with
"""

from typing import Any

import torch
from torch import Tensor


def full_softmax(
    vectors_TD: Tensor,
    targets_T: Tensor,
    items_VD: Tensor,
    scale: float,
    max_scores: int,
    products: torch.dtype | None = None,
) -> Tensor:
    """Return the mean cross-entropy of the targets over the whole catalogue.

    `targets_T` is int64 rows, none of them 0; row 0 of `items_VD` is padding and not compared with. At most
    `max_scores` scores are held at once, or those of a single target where even they are more. The factors of the
    gradients' two products are rounded to type `products`, if it is given; scores, softmax and sums are not.
    """
    mean: Tensor = _FullSoftmax.apply(scale * vectors_TD, targets_T - 1, items_VD[1:], max_scores, products)
    return mean


class _FullSoftmax(torch.autograd.Function):
    """Makes the gradient beside the loss, portion by portion in one buffer that is overwritten in place.

    Nothing of `[T, V]` is kept for the backward pass. Autograd keeps three such tensors, or with checkpoints makes the
    scores twice. One core, forward and backward: 512 targets, 52,000 items, 100 wide: 466 ms whole, 319 ms with
    checkpoints at the best size of a portion, 222 ms here; 6,400 targets, 3,416 items, 64 wide: 321, 163 and 101 ms.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors_TD: Tensor, targets_T: Tensor, items_VD: Tensor, max_scores: int, products: torch.dtype | None
    ) -> Tensor:
        """Return the mean loss; `targets_T` counts from 0."""
        losses_T = vectors_TD.new_empty(len(vectors_TD))
        to_vectors_TD, to_items_VD = torch.empty_like(vectors_TD), torch.zeros_like(items_VD)
        products = products or items_VD.dtype
        factors_VD = items_VD.to(products)
        for part in portions(len(vectors_TD), len(items_VD), max_scores):
            vectors_CD, targets_C1 = vectors_TD[part], targets_T[part, None]
            scores_CV = vectors_CD @ items_VD.T
            highest_C1 = scores_CV.amax(dim=1, keepdim=True)
            target_C1 = scores_CV.gather(1, targets_C1)
            scores_CV.sub_(highest_C1).exp_()
            total_C1 = scores_CV.sum(dim=1, keepdim=True)
            losses_T[part] = (total_C1.log() + highest_C1 - target_C1).squeeze(1)
            # The gradient of the scores is softmax - 1 at the target, here times `total`, which is divided away where
            # there is less to divide.
            scores_CV.scatter_(1, targets_C1, scores_CV.gather(1, targets_C1) - total_C1)
            to_scores_CV = scores_CV.to(products)
            to_vectors_TD[part] = (to_scores_CV @ factors_VD) / total_C1
            to_items_VD += to_scores_CV.T @ (vectors_CD / total_C1).to(products)
            del scores_CV, to_scores_CV  # before the next portion's are made
        ctx.save_for_backward(to_vectors_TD, to_items_VD)
        return losses_T.mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        """Return the gradients of `forward`'s arguments."""
        to_vectors_TD, to_items_VD = ctx.saved_tensors
        weight = gradients[0] / len(to_vectors_TD)
        return to_vectors_TD * weight, None, to_items_VD * weight, None, None


def portions(targets: int, items: int, max_scores: int) -> list[slice]:
    """Return slices of about equal length over the targets, none with more than `max_scores` scores if it can be."""
    size = max(1, max_scores // items)
    count = -(-targets // size)
    return [slice(targets * number // count, targets * (number + 1) // count) for number in range(count)]
