"""SASRec: causal self-attention over the events of a session, each with its place.

Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781; with the full or sampled softmax loss that made it the
best published on MovieLens-1M (Klenitskiy and Vasilev, RecSys 2023, https://arxiv.org/abs/2309.07602).  Deviations:
layer norm before each part and once at the end (pre-norm, which trains without care), GELU, places counted from the
window's start, no dropout inside attention (it would forbid the fused kernel and gained nothing).

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
class SASRecConfig(AttentionConfig):
    """Size and regularisation of a `SASRec`."""

    expansion: float = 1.0
    """Width of the feed-forward layer, as a multiple of `dim`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above(0, expansion=self.expansion)


class SASRec(AttentionEncoder):
    """The encoder."""

    kind = "sasrec"

    def __init__(self, items: int, config: SASRecConfig, event_types: int = 0) -> None:
        # Plain inner products with a table of tied vectors want them short at first, or the softmax starts saturated.
        super().__init__(items, config, event_types, std=0.02 if config.temperature is None else None)
        self._widen = config.dim**0.5 if config.temperature is None else 1.0
        self.places = nn.Parameter(torch.randn(config.window, config.dim) * 0.02)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        small_weights(self)

    def enter(self, x_BLD: Tensor) -> Tensor:
        """Return input vectors with their places, `[B, L, D]`."""
        x_BLD = self._widen * x_BLD + self.places[: x_BLD.shape[1]]
        entered: Tensor = self.dropout(x_BLD)
        return entered

    def leave(self, x: Tensor) -> Tensor:
        """Return session vectors `[..., D]`."""
        return self.shaped(self.norm(x))


class _Block(nn.Module):
    """Attention, then a feed-forward layer, each added to what came in."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        inner = round(config.expansion * config.dim)
        self.norm_attention, self.norm_forward = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.attention = Attention(config.dim, config.heads)
        self.widen, self.narrow = nn.Linear(config.dim, inner), nn.Linear(inner, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BLD: Tensor, ages_BLL: Tensor | None, last_B: Tensor | None) -> Tensor:
        """Return `[B, L, D]`, or `[B, 1, D]` at `last`."""
        y = at(x_BLD, last_B) + self.dropout(self.attention(self.norm_attention(x_BLD), last_B))
        inner = self.dropout(functional.gelu(self.widen(self.norm_forward(y))))
        added: Tensor = y + self.dropout(self.narrow(inner))
        return added
