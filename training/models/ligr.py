"""LiGR: causal self-attention whose blocks gate what they add, so that depth does no harm.

The block of LiGR (Borisyuk et al., 2025, https://arxiv.org/abs/2502.03417, section 3.1: a learned gate on the input
decides how much of each part is added), the rest as in eSASRec (Tikhonovich et al., RecSys 2025,
https://arxiv.org/abs/2508.06450): pre-norm, SwiGLU feed-forward layers, sampled softmax.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.checks import above
from training.models.attention import Attention, AttentionConfig, PlacedEncoder, at
from training.models.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class LiGRConfig(AttentionConfig):
    """Size and regularisation of a `LiGR`."""

    expansion: float = 2.0
    """Width of the feed-forward layer, as a multiple of `dim`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above(0, expansion=self.expansion)


class LiGR(PlacedEncoder):
    """The encoder."""

    kind = "ligr"

    def __init__(self, items: int, config: LiGRConfig, event_types: int = 0) -> None:
        super().__init__(items, config, event_types, lambda: _Block(config))


class _Block(nn.Module):
    """Attention, then a feed-forward layer; of each, as much is added as its gate on the input lets through."""

    def __init__(self, config: LiGRConfig) -> None:
        super().__init__()
        dim, inner = config.dim, round(config.expansion * config.dim)
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, config.heads)
        self.gate_attention, self.gate_forward = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.switch, self.widen = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)
        self.narrow = nn.Linear(inner, dim, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BLD: Tensor, ages_BLL: Tensor | None, last_B: Tensor | None) -> Tensor:
        """Return `[B, L, D]`, or `[B, 1, D]` at `last`."""
        x = at(x_BLD, last_B)
        attended = self.dropout(self.attention(self.norm_attention(x_BLD), last_B))
        y = x + torch.sigmoid(self.gate_attention(x)) * attended
        normed = self.norm_forward(y)
        inner = self.dropout(functional.silu(self.switch(normed)) * self.widen(normed))
        added: Tensor = y + torch.sigmoid(self.gate_forward(y)) * self.dropout(self.narrow(inner))
        return added
