"""The loss that a recipe names, ready to be called for each batch.

Shape suffixes, this file only:
    T targets of a batch    C targets of a portion    N negatives, shared by all targets    D width
    V catalogue + 1 (row 0 is padding)
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from training.device import Precision
from training.losses.config import LossConfig
from training.losses.sampled import binary, bpr_max, gbce_beta, sampled_softmax
from training.losses.softmax import full_softmax, portions
from training.models import SessionEncoder
from training.negatives import Negatives, Source, make_source

Part = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Losses `[C]` of a portion: of its session vectors, target rows and target vectors, and of the negatives' vectors."""


class Loss:
    """The loss of a recipe.

    Args:
        config: which one.
        popularity_V: clicks of each item in the training data.
        target_counts_V: how often each item is a target there (`training.negatives.target_counts`).
        precision: "bf16" has the full softmax make its gradients from bfloat16 factors, which takes a third off its
            time on a CPU with AVX512-BF16 (3,200 targets, 3,416 items, 64 wide, one core: 57 to 37 ms).

    """

    def __init__(
        self, config: LossConfig, popularity_V: Tensor, target_counts_V: Tensor, precision: Precision = "float32"
    ) -> None:
        self._config = config
        self._products = torch.bfloat16 if precision == "bf16" else None
        self._items = len(popularity_V) - 1
        self._source: Source | None = None
        if config.kind != "softmax":
            alpha = 0.0 if config.source == "uniform" else config.alpha
            drawn = {"in-batch": 0.0, "mixed": config.drawn}.get(config.source, 1.0)
            self._source = make_source(popularity_V, target_counts_V, alpha, config.negatives, drawn)

    @property
    def looks_up(self) -> bool:
        """Tell whether it looks up the items of a batch alone, so that no other row of a table has a gradient."""
        return self._source is not None

    def __call__(
        self,
        encoder: SessionEncoder,
        vectors_TD: Tensor,
        targets_T: Tensor,
        generator: torch.Generator,
        *,
        batch_targets_T: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss over the targets: session vectors `[T, D]` and the rows that came next, `[T]`.

        `batch_targets_T` are the targets of the whole batch where other processes have some of it, so that all of them
        draw the same negatives.
        """
        if self._source is None:
            items_VD, most = encoder.item_vectors(), self._config.max_scores
            return full_softmax(vectors_TD, targets_T, items_VD, encoder.scale, most, self._products)
        negatives = self._source.draw(targets_T if batch_targets_T is None else batch_targets_T, generator)
        # One lookup for both, so that one gradient goes back into the table.
        items_XD = encoder.score_vectors(torch.cat([targets_T, negatives.rows]))
        targets_TD, negatives_ND = items_XD[: len(targets_T)], items_XD[len(targets_T) :]
        part, arguments = self._part(negatives, encoder.scale), (vectors_TD, targets_T, targets_TD, negatives_ND)
        if len(targets_T) * len(negatives.rows) <= self._config.max_scores:
            return part(*arguments).mean()
        mean: Tensor = _InPortions.apply(part, self._config.max_scores, *arguments)
        return mean

    def _part(self, negatives: Negatives, scale: float) -> Part:
        def losses(vectors_CD: Tensor, targets_C: Tensor, targets_CD: Tensor, negatives_ND: Tensor) -> Tensor:
            return self._of_scores(
                scale * (vectors_CD * targets_CD).sum(dim=1),
                scale * (vectors_CD @ negatives_ND.T),
                targets_C[:, None] == negatives.rows[None, :],
                negatives.log_expected,
            )

        return losses

    def _of_scores(
        self, positive_C: Tensor, negative_CN: Tensor, collisions_CN: Tensor, log_expected_N: Tensor
    ) -> Tensor:
        config = self._config
        match config.kind:
            case "sampled-softmax":
                expected_N = log_expected_N if config.logq else None
                return sampled_softmax(positive_C, negative_CN, collisions_CN, expected_N)
            case "bpr-max":
                return bpr_max(positive_C, negative_CN, collisions_CN, config.regularization)
            case "gbce":
                rate = negative_CN.shape[1] / max(1, self._items - 1)
                return binary(positive_C, negative_CN, collisions_CN, gbce_beta(config.t, rate))
            case _:
                return binary(positive_C, negative_CN, collisions_CN)


class _InPortions(torch.autograd.Function):
    """The mean of a `Part`'s losses, with the gradient made beside each portion, so that no scores wait for it."""

    @staticmethod
    def forward(
        ctx: Any,
        part: Part,
        max_scores: int,
        vectors_TD: Tensor,
        targets_T: Tensor,
        targets_TD: Tensor,
        negatives_ND: Tensor,
    ) -> Tensor:
        """Return the mean loss."""
        losses, gradients = [], []
        to_negatives_ND = torch.zeros_like(negatives_ND)
        for here in portions(len(targets_T), len(negatives_ND), max_scores):
            inputs = [x.detach().requires_grad_() for x in (vectors_TD[here], targets_TD[here], negatives_ND)]
            with torch.enable_grad():
                losses_C = part(inputs[0], targets_T[here], *inputs[1:])
                to_vectors_CD, to_targets_CD, to_negatives = torch.autograd.grad(losses_C.sum(), inputs)
            to_negatives_ND += to_negatives
            losses.append(losses_C.detach())
            gradients.append((to_vectors_CD, to_targets_CD))
            del losses_C
        to_vectors, to_targets = zip(*gradients, strict=True)
        ctx.save_for_backward(torch.cat(to_vectors), torch.cat(to_targets), to_negatives_ND)
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor, None, Tensor, Tensor]:
        """Return the gradients of `forward`'s arguments."""
        to_vectors_TD, to_targets_TD, to_negatives_ND = ctx.saved_tensors
        weight = gradients[0] / len(to_vectors_TD)
        return None, None, to_vectors_TD * weight, None, to_targets_TD * weight, to_negatives_ND * weight
