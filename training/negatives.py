"""Negatives: items drawn at random, that a sampled loss compares the true next item with.

Shape suffixes, this file only:
    N negatives    V catalogue + 1 (row 0 is padding, never drawn)
"""

import torch
from torch import Tensor

from training.errors import DataError


class Negatives:
    """Draws items with replacement, with probability proportional to popularity^alpha.

    `alpha` 0 is uniform over the catalogue, 1 follows the clicks; GRU4Rec's authors settle between .2 and .75.

    Args:
        popularity_V: clicks of each item in the training data, `[V]`, row 0 is ignored.
        alpha: 0 or above.

    """

    def __init__(self, popularity_V: Tensor, alpha: float) -> None:
        weights_V = popularity_V.double() ** alpha
        weights_V[0] = 0
        total = weights_V.sum()
        if not total > 0:
            raise DataError("there are no items to draw negatives from: the training data holds no clicks")
        self.log_q_V = (weights_V / total).log().float()
        """log of each item's probability, float32 `[V]`; -inf for padding."""
        # Inverting the distribution function costs log V a draw; torch.multinomial would read all of V each time.
        self._cumulated_V = (weights_V / total).cumsum(0)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `[count]` int64 rows."""
        uniform_N = torch.rand(count, generator=generator, dtype=torch.float64)
        rows_N = torch.searchsorted(self._cumulated_V, uniform_N, right=True)
        # Rounding may leave the last value a hair below 1.
        return rows_N.clamp_(1, len(self._cumulated_V) - 1)
