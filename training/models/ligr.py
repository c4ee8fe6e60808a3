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
from training.models.attention import Attention, AttentionConfig, AttentionEncoder, at, small_weights
from training.models.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class LiGRConfig(AttentionConfig):
    """Size and regularisation of a `LiGR`."""

    expansion: float = 2.0
    """Width of the feed-forward layer, as a multiple of `dim`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above(0, expansion=self.expansion)


class LiGR(AttentionEncoder):
    """The encoder."""

    kind = "ligr"

    def __init__(self, items: int, config: LiGRConfig, event_types: int = 0) -> None:
        super().__init__(items, config, event_types, std=0.02 if config.temperature is None else None)
        self._widen = config.dim**0.5 if config.temperature is None else 1.0
        self.places = nn.Parameter(torch.randn(config.window, config.dim) * 0.02)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        small_weights(self)

    def enter(self, x_BLD: Tensor) -> Tensor:
        """Return input vectors with their places, `[B, L, D]`."""
        entered: Tensor = self.dropout(self._widen * x_BLD + self.places[: x_BLD.shape[1]])
        return entered

    def leave(self, x: Tensor) -> Tensor:
        """Return session vectors `[..., D]`."""
        return self.shaped(self.norm(x))


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
