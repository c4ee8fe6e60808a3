"""What encoders with attention share: causal attention over a padded window, and their exported form.

Padding stands on the right and attention looks to the left only, so it never reaches a real event and needs no mask.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width    H heads    K width of a head
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from serving.errors import WrongUse
from training.batches import Sessions
from training.checks import at_least
from training.models.dropout import Dropout
from training.models.encoder import EncoderConfig, SessionEncoder
from training.models.items import unit


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(EncoderConfig):
    """Size of an `AttentionEncoder`: dropout falls on the inputs and on what each block adds."""

    window: int = 50
    """The most events that it can read; a recipe's own window must not be longer."""
    blocks: int = 2
    heads: int = 1

    fewest_blocks: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, window=self.window, heads=self.heads)
        at_least(self.fewest_blocks, blocks=self.blocks)
        if self.dim % self.heads:
            raise WrongUse(f"dim {self.dim} cannot be cut into {self.heads} heads: take a multiple of {self.heads}")


class AttentionEncoder(SessionEncoder):
    """Blocks over the input vectors of a window; a position's output is the session vector after its event."""

    form = "window"
    blocks: nn.ModuleList
    """Modules that take `x [B, L, D]`, `ages [B, L, L]` or None, and `last`, and return `[B, L, D]`; with `last [B]`,
    int64, only the outputs at those positions, `[B, 1, D]`."""

    @abstractmethod
    def enter(self, x_BLD: Tensor) -> Tensor:
        """Return what the first block takes: input vectors with their positions."""

    @abstractmethod
    def leave(self, x: Tensor) -> Tensor:
        """Return session vectors `[..., D]` for the last block's outputs `[..., D]`."""

    def vectors(self, x_BLD: Tensor, ages_BLL: Tensor | None) -> Tensor:
        """Return the session vector after each event, `[B, L, D]` (see `SessionEncoder.vectors`)."""
        h_BLD = self.enter(x_BLD)
        for block in self.blocks:
            h_BLD = block(h_BLD, ages_BLL, None)
        return self.leave(h_BLD)

    def session_vectors(self, sessions: Sessions) -> Tensor:
        """Return the vector of each whole session, `[B, D]`: in the last block, one row for each."""
        return self.last_vectors(self.read(sessions), sessions.lengths - 1, sessions.ages)

    def last_vectors(self, x_BLD: Tensor, last_B: Tensor, ages_BLL: Tensor | None) -> Tensor:
        """Return the session vector after event `last` of each session, `[B, D]`: of the last block, one row each."""
        h_BLD = self.enter(x_BLD)
        for block in self.blocks[:-1]:
            h_BLD = block(h_BLD, ages_BLL, None)
        return self.leave(self.blocks[-1](h_BLD, ages_BLL, last_B)[:, 0])

    def exported(self) -> nn.Module:
        """Return the window form (see `SessionEncoder.exported`)."""
        return _Aged(self) if self.time_of != "none" else _Window(self)

    def shaped(self, x: Tensor) -> Tensor:
        """Return vectors as scores want them: of length 1 where scores are cosines."""
        return unit(x) if self.items.unit_norm else x


class PlacedEncoder(AttentionEncoder):
    """Input vectors with a learned vector for each place of the window, blocks, and a layer norm at the end.

    Args:
        items: size of the catalogue, without padding.
        config: the encoder's.
        event_types: how many types the data know.
        block: makes one block, `config.blocks` times.

    """

    def __init__(self, items: int, config: AttentionConfig, event_types: int, block: Callable[[], nn.Module]) -> None:
        # Plain inner products with a table of tied vectors want them short at first, or the softmax starts saturated;
        # short ones are then made as long as other inputs.
        plain = config.temperature is None
        super().__init__(items, config, event_types, std=0.02 if plain else None)
        self._widen = config.dim**0.5 if plain else 1.0
        self.places = nn.Parameter(torch.randn(config.window, config.dim) * 0.02)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(block() for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        small_weights(self)

    def enter(self, x_BLD: Tensor) -> Tensor:
        """Return input vectors with their places, `[B, L, D]`."""
        entered: Tensor = self.dropout(self._widen * x_BLD + self.places[: x_BLD.shape[1]])
        return entered

    def leave(self, x: Tensor) -> Tensor:
        """Return session vectors `[..., D]`."""
        return self.shaped(self.norm(x))


class _Window(nn.Module):
    """The window form of an encoder that does not look at time."""

    def __init__(self, encoder: AttentionEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, last: Tensor) -> Tensor:
        """Return `vector [B, D]`."""
        return self.encoder.last_vectors(x, last, None)


class _Aged(nn.Module):
    """The window form of an encoder that looks at time."""

    def __init__(self, encoder: AttentionEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, last: Tensor, ages: Tensor) -> Tensor:
        """Return `vector [B, D]`."""
        return self.encoder.last_vectors(x, last, ages)


def at(x: Tensor, last_B: Tensor | None) -> Tensor:
    """Return the rows of `x [B, L, ...]` at `last`, `[B, 1, ...]`; all of them where `last` is None."""
    if last_B is None:
        return x
    places = last_B.reshape(-1, *(1,) * (x.dim() - 1)).expand(-1, 1, *x.shape[2:])
    return x.gather(1, places)


def seen(length: int, last_B: Tensor | None, device: torch.device) -> Tensor:
    """Return which positions a query may look at, bool `[1, L, L]`, or `[B, 1, L]` for the queries at `last`."""
    position_L = torch.arange(length, device=device)
    if last_B is None:
        return (position_L[None, :] <= position_L[:, None])[None]
    return position_L[None, None, :] <= last_B[:, None, None]


class Attention(nn.Module):
    """Multi-head softmax attention. Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, last_B: Tensor | None) -> Tensor:
        """Return `[B, L, D]`, or `[B, 1, D]` for the queries at `last`."""
        query_BHLK = self._heads(self.query(at(x_BLD, last_B)))
        key_BHLK, value_BHLK = self._heads(self.key(x_BLD)), self._heads(self.value(x_BLD))
        if last_B is None:
            y_BHLK = functional.scaled_dot_product_attention(query_BHLK, key_BHLK, value_BHLK, is_causal=True)
        else:
            mask = seen(x_BLD.shape[1], last_B, x_BLD.device)[:, None]
            y_BHLK = functional.scaled_dot_product_attention(query_BHLK, key_BHLK, value_BHLK, attn_mask=mask)
        return cast(Tensor, self.out(y_BHLK.transpose(1, 2).flatten(2)))

    def _heads(self, x_BLD: Tensor) -> Tensor:
        batch, length, _ = x_BLD.shape
        return x_BLD.view(batch, length, self.heads, -1).transpose(1, 2)


def small_weights(module: nn.Module, std: float = 0.02) -> None:
    """Give every linear layer normal weights of a small deviation and no bias, as GPT-2 begins."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
