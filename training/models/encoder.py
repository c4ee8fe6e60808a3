"""What every encoder is to the loss, the loop and the export.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width    V catalogue + 1
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from serving.encoders import TimeOf
from serving.encoders.events import SILENCES
from training.batches import Sessions
from training.checks import above, at_least, finite, share
from training.models.items import ItemTable


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """What all encoders have in common."""

    dim: int = 100
    """Width of item vectors and session vectors, D."""
    dropout: float = 0.3
    """Share of values that training sets to zero, where the encoder says."""
    tied: bool = True
    """One table for the items read and the items scored."""
    temperature: float | None = 0.07
    """Scores are cosines divided by this; None leaves plain inner products."""
    event_types: bool = False
    """Read each event's type beside its item."""
    silences: bool = False
    """Read the silence before each event beside its item; the data must have times."""

    def __post_init__(self) -> None:
        at_least(1, dim=self.dim)
        share(dropout=self.dropout)
        if self.temperature is not None:
            above(0, temperature=self.temperature)
            finite(temperature=self.temperature)


class SessionEncoder(nn.Module, ABC):
    """A network that turns a session into a vector, and the items that the vector is compared with.

    A session's next item is the one whose vector has the largest inner product with the session vector; the loss
    multiplies that product by `scale`, which is no part of the exported vectors.

    Args:
        items: size of the catalogue, without padding.
        config: the encoder's.
        event_types: how many types the data know.
        std: standard deviation of the item table's first values; None: such that vectors have length 1.

    """

    kind: ClassVar[str]
    """Name in a manifest and on the command line."""
    form: ClassVar[Literal["step", "window"]]
    """How it is exported: one event a call, the state carried; or the last events anew at each click."""

    time_of: TimeOf = "none"
    """Whether it looks at the events' ages, and from which moment on."""
    state_size: int = 0
    """Numbers in a carried state."""

    def __init__(self, items: int, config: EncoderConfig, event_types: int = 0, std: float | None = None) -> None:
        super().__init__()
        cosine = config.temperature is not None
        self.items = ItemTable(items, dim=config.dim, tied=config.tied, unit_norm=cosine, std=std)
        self.scale = 1.0 if config.temperature is None else 1.0 / config.temperature
        self.dim = self.input_dim = config.dim
        self.types = _vectors(event_types + 1, config.dim) if config.event_types else None
        self.silences = _vectors(SILENCES, config.dim) if config.silences else None

    @property
    def timed(self) -> bool:
        """Tell whether it needs the times of events."""
        return self.silences is not None or self.time_of != "none"

    def forward(self, sessions: Sessions) -> Tensor:
        """Return the session vector after each event, `[B, L, D]`; past a session's end its values mean nothing.

        Position i depends on positions 0 to i alone (and, where `time_of` is "query", on the time of event i + 1).
        """
        return self.vectors(self.read(sessions), sessions.ages)

    @abstractmethod
    def vectors(self, x_BLD: Tensor, ages_BLL: Tensor | None) -> Tensor:
        """Return the session vector after each event, `[B, L, D]`, from the events' input vectors."""

    @abstractmethod
    def exported(self) -> nn.Module:
        """Return the form that is exported, sharing these weights; dropout is not part of it.

        "step" takes `x [B, input_dim]` (input vectors of one event each) and `state [B, state_size]`, zeros at a
        session's start, and returns `state_out [B, state_size]` and `vector [B, D]`, all float32.

        "window" takes `x [B, L, input_dim]` and `last [B]`, int64, the place of each session's newest event (and
        `ages [B, L, L]`, int64, where `time_of` is not "none"), and returns `vector [B, D]`.
        """

    def read(self, sessions: Sessions) -> Tensor:
        """Return the input vectors of events, `[B, L, D]`: those of their items, types and silences, summed in order.

        In the order in which `serving.encoders.events` sums them, for other sums would be other bits.
        """
        x_BLD = self.items.read(sessions.items)
        if self.types is not None:
            x_BLD = x_BLD + self.types(sessions.types)
        if self.silences is not None:
            x_BLD = x_BLD + self.silences(sessions.silences)
        return x_BLD

    def session_vectors(self, sessions: Sessions) -> Tensor:
        """Return the vector of each whole session, `[B, D]`."""
        vectors_BLD: Tensor = self(sessions)
        rows_B = torch.arange(len(sessions.lengths), device=vectors_BLD.device)
        return vectors_BLD[rows_B, sessions.lengths - 1]

    def score_vectors(self, rows: Tensor) -> Tensor:
        """Return the vectors of some items, `[..., D]`, for int64 rows of any shape."""
        return self.items.score(rows)

    def item_vectors(self) -> Tensor:
        """Return the vectors of all items, `[V, D]`; row 0 is zeros."""
        return self.items.item_vectors()

    def input_vectors(self) -> Tensor | None:
        """Return what the encoder reads for each item, `[V, input_dim]`, or None where that is `item_vectors()`."""
        return None if self.items.tied else self.items.input_vectors()


def _vectors(count: int, dim: int) -> nn.Embedding:
    """Return a table of vectors to be added to those of items, zeros at first: what is not learnt changes nothing."""
    table = nn.Embedding(count, dim)
    nn.init.zeros_(table.weight.detach())
    return table
