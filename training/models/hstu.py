"""HSTU: attention without softmax, gated, with a bias for how far back and how long ago an event lies.

Zhai et al., Actions Speak Louder than Words, ICML 2024, https://arxiv.org/abs/2402.17152, section 3.2: pointwise SiLU
attention, so that many alike events weigh more than one, a gate instead of a feed-forward layer, and the relative bias
of section 3.3. On MovieLens-1M the bias by time is what gains most (HR@10 .302 to .323, RecTools'
HSTU tutorial).  With `time_of` "query" the ages
are counted at the moment of the event to be predicted, as in the authors' code; no stream knows it, so such a bundle is
for comparisons only. With "last" they are counted at the newest event.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width    H heads    K width of a head
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.encoders import TimeOf
from serving.encoders.events import AGES
from training.models.attention import AttentionConfig, PlacedEncoder, at, seen
from training.models.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class HSTUConfig(AttentionConfig):
    """Size and regularisation of an `HSTU`."""

    time_of: TimeOf = "last"
    """The moment at which ages are counted; none: no bias by time."""
    places: bool = True
    """A bias by how many events back one lies."""


class HSTU(PlacedEncoder):
    """The encoder."""

    kind = "hstu"

    def __init__(self, items: int, config: HSTUConfig, event_types: int = 0) -> None:
        super().__init__(items, config, event_types, lambda: _Block(config))
        self.time_of = config.time_of


class _Block(nn.Module):
    """One HSTU layer."""

    def __init__(self, config: HSTUConfig) -> None:
        super().__init__()
        self.heads, self.window = config.heads, config.window
        self.norm_in, self.norm_out = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.gate, self.value, self.query, self.key = (nn.Linear(config.dim, config.dim) for _ in range(4))
        self.out = nn.Linear(config.dim, config.dim)
        self.by_place = nn.Parameter(torch.zeros(config.window, config.heads)) if config.places else None
        self.by_age = nn.Parameter(torch.zeros(AGES, config.heads)) if config.time_of != "none" else None
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BLD: Tensor, ages_BLL: Tensor | None, last_B: Tensor | None) -> Tensor:
        """Return `[B, L, D]`, or `[B, 1, D]` at `last`."""
        normed_BLD = self.norm_in(x_BLD)
        asking = at(normed_BLD, last_B)
        query, key = self._heads(self.query(asking)), self._heads(self.key(normed_BLD))
        value = self._heads(self.value(normed_BLD))
        mask = seen(x_BLD.shape[1], last_B, x_BLD.device)[:, None]
        scores = query @ key.transpose(2, 3) + self._bias(x_BLD, ages_BLL, last_B)
        weights = functional.silu(scores) * mask / self.window
        attended = (weights @ value).transpose(1, 2).flatten(2)
        gated = self.norm_out(attended) * functional.silu(self.gate(asking))
        return at(x_BLD, last_B) + cast(Tensor, self.out(self.dropout(gated)))

    def _bias(self, x_BLD: Tensor, ages_BLL: Tensor | None, last_B: Tensor | None) -> Tensor:
        """Return what is added to the scores, to be broadcast to `[B, H, L, L]` (or `[B, H, 1, L]`)."""
        bias = torch.zeros(1, 1, 1, 1, device=x_BLD.device)
        if self.by_place is not None:
            position_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)
            newest = position_L[None, :, None] if last_B is None else last_B[:, None, None]
            back = (newest - position_L[None, None, :]).clamp_min(0)
            bias = bias + self.by_place[back].permute(0, 3, 1, 2)
        if self.by_age is not None and ages_BLL is not None:
            bias = bias + self.by_age[at(ages_BLL, last_B)].permute(0, 3, 1, 2)
        return bias

    def _heads(self, x_BLD: Tensor) -> Tensor:
        batch, length, _ = x_BLD.shape
        return functional.silu(x_BLD).view(batch, length, self.heads, -1).transpose(1, 2)
