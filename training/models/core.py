"""CORE: a session is a weighted mean of the vectors of its own items, so both live in one space.

Hou et al., CORE: Simple and Effective Session-based Recommendation within Consistent Representation Space, SIGIR 2022,
https://arxiv.org/abs/2204.11067: a network only decides the weights (section 3.2), and scores are cosines with a
temperature, of item vectors with dropout (section 3.3).  Deviations: causal, so that one pass learns from every
position: the weights of position i are those of a last attention from event i to the events up to it, whose values are
what the encoder reads of them (vectors of items, of length 1; those of types and silences too, where it reads them);
pre-norm blocks; the shares of the two dropouts are apart.  Without blocks it is CORE-ave, the plain mean.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.errors import WrongUse
from training.checks import above, share
from training.models.attention import Attention, AttentionConfig, AttentionEncoder, at, seen, small_weights
from training.models.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class COREConfig(AttentionConfig):
    """Size and regularisation of a `CORE`: `dropout` falls inside the blocks."""

    expansion: float = 4.0
    """Width of the feed-forward layer, as a multiple of `dim`."""
    item_dropout: float = 0.2
    """Share of the values that are read, and averaged, that training sets to zero."""
    scored_dropout: float = 0.0
    """Share of the values of each scored item's vector that training sets to zero before it is made of length 1."""
    blocks: int = 1
    """Blocks before the weights; 0 is the plain mean."""

    fewest_blocks = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        above(0, expansion=self.expansion)
        share(item_dropout=self.item_dropout, scored_dropout=self.scored_dropout)
        if self.temperature is None:
            raise WrongUse("CORE compares by cosine: temperature must be a number above 0, such as 0.07, not none")


class CORE(AttentionEncoder):
    """The encoder."""

    kind = "core"

    def __init__(self, items: int, config: COREConfig, event_types: int = 0) -> None:
        super().__init__(items, config, event_types)
        self.item_dropout = Dropout(config.item_dropout)
        self.scored_dropout = Dropout(config.scored_dropout)
        self.blocks = nn.ModuleList([*(_Block(config) for _ in range(config.blocks)), _Mean(config)])
        small_weights(self)

    def enter(self, x_BLD: Tensor) -> Tensor:
        """Return input vectors twice, `[B, L, 2 D]`: once for the weights, once to be averaged."""
        x_BLD = self.item_dropout(x_BLD)
        return torch.cat([x_BLD, x_BLD], dim=2)

    def leave(self, x: Tensor) -> Tensor:
        """Return session vectors `[..., D]`."""
        return self.shaped(x)

    def score_vectors(self, rows: Tensor) -> Tensor:
        """Return the vectors of some items (see `SessionEncoder.score_vectors`)."""
        return self.shaped(self.scored_dropout(self.items.output(rows)))

    def item_vectors(self) -> Tensor:
        """Return the vectors of all items (see `SessionEncoder.item_vectors`)."""
        return self.shaped(self.scored_dropout(self.items.output.weight))


class _Block(nn.Module):
    """Attention, then a feed-forward layer, on the half that decides the weights."""

    def __init__(self, config: COREConfig) -> None:
        super().__init__()
        inner = round(config.expansion * config.dim)
        self.places = nn.Parameter(torch.randn(config.window, config.dim) * 0.02)
        self.norm_attention, self.norm_forward = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.attention = Attention(config.dim, config.heads)
        self.widen, self.narrow = nn.Linear(config.dim, inner), nn.Linear(inner, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BLD: Tensor, ages_BLL: Tensor | None, last_B: Tensor | None) -> Tensor:
        """Return `[B, L, 2 D]`."""
        h_BLD, items_BLD = x_BLD.chunk(2, dim=2)
        h_BLD = self.dropout(h_BLD + self.places[: h_BLD.shape[1]])
        h_BLD = h_BLD + self.dropout(self.attention(self.norm_attention(h_BLD), None))
        inner = self.dropout(functional.gelu(self.widen(self.norm_forward(h_BLD))))
        return torch.cat([h_BLD + self.dropout(self.narrow(inner)), items_BLD], dim=2)


class _Mean(nn.Module):
    """The weights, and the mean of the item vectors by them."""

    def __init__(self, config: COREConfig) -> None:
        super().__init__()
        weighted = config.blocks > 0
        self.norm = nn.LayerNorm(config.dim) if weighted else None
        self.query = nn.Linear(config.dim, config.dim) if weighted else None
        self.key = nn.Linear(config.dim, config.dim) if weighted else None
        # By how far back an event lies: the newest tells most.
        self.distance = nn.Parameter(torch.zeros(config.window)) if weighted else None

    def forward(self, x_BLD: Tensor, ages_BLL: Tensor | None, last_B: Tensor | None) -> Tensor:
        """Return `[B, L, D]`, or `[B, 1, D]` at `last`."""
        h_BLD, items_BLD = x_BLD.chunk(2, dim=2)
        length = h_BLD.shape[1]
        mask = seen(length, last_B, h_BLD.device)
        if self.norm is None or self.query is None or self.key is None or self.distance is None:
            logits = torch.zeros_like(mask, dtype=h_BLD.dtype)
        else:
            normed_BLD = self.norm(h_BLD)
            query, key = self.query(at(normed_BLD, last_B)), self.key(normed_BLD)
            position_L = torch.arange(length, device=h_BLD.device)
            newest = position_L[None, :, None] if last_B is None else last_B[:, None, None]
            back = (newest - position_L[None, None, :]).clamp_min(0)
            logits = query @ key.transpose(1, 2) * query.shape[2] ** -0.5 + self.distance[back]
        weights = logits.masked_fill(~mask, -torch.inf).softmax(dim=2)
        mean: Tensor = weights @ items_BLD
        return mean
