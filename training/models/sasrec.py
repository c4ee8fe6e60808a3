"""SASRec: causal self-attention over the events of a session, each with its place.

Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781; with the full or sampled softmax loss, which lifted
its HR@10 on MovieLens-1M from .250 to .316 (Klenitskiy and Vasilev, RecSys 2023, https://arxiv.org/abs/2309.07602).
Deviations: layer norm before each part and once at the end (pre-norm, which trains without care), GELU, places counted
from the window's start, no dropout inside attention (it would forbid the fused kernel and gained nothing).

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from training.checks import above
from training.models.attention import Attention, AttentionConfig, PlacedEncoder, at
from training.models.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class SASRecConfig(AttentionConfig):
    """Size and regularisation of a `SASRec`."""

    expansion: float = 1.0
    """Width of the feed-forward layer, as a multiple of `dim`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above(0, expansion=self.expansion)


class SASRec(PlacedEncoder):
    """The encoder."""

    kind = "sasrec"

    def __init__(self, items: int, config: SASRecConfig, event_types: int = 0) -> None:
        super().__init__(items, config, event_types, lambda: _Block(config))


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
