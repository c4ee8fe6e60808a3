"""What every encoder is to the loss, the loop and the export.

Shape suffixes, this file only:
    B sessions    L positions, oldest first, padded on the right    D width    V catalogue + 1
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.models.items import ItemTable


class SessionEncoder(nn.Module, ABC):
    """A network that turns a session into a vector, and the items that the vector is compared with.

    A session's next item is the one whose vector has the largest inner product with the session vector; the loss
    multiplies that product by `scale`, which is no part of the exported vectors.
    """

    kind: ClassVar[str]
    """Name in a manifest and on the command line."""
    form: ClassVar[str]
    """How it is exported: "step" (one event a call, the state carried) or "window"."""

    items: ItemTable
    scale: float
    dim: int
    """Width of session vectors and item vectors."""
    input_dim: int
    """Width of what it reads for each item."""
    state_size: int
    """Numbers in a carried state."""

    @abstractmethod
    def forward(self, items_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the session vector after each event, `[B, L, D]`; past a session's end its values mean nothing.

        `items_BL` is int64 item rows, 0 = padding; `lengths_B` is int64, each at least 1. Position i depends on
        positions 0 to i alone.
        """

    def session_vectors(self, items_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the vector of each whole session, `[B, D]`; arguments as for `forward`."""
        vectors_BLD: Tensor = self(items_BL, lengths_B)
        rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
        return vectors_BLD[rows_B, lengths_B - 1]

    def score_vectors(self, rows: Tensor) -> Tensor:
        """Return the vectors of some items, `[..., D]`, for int64 rows of any shape."""
        return self.items.score(rows)

    def item_vectors(self) -> Tensor:
        """Return the vectors of all items, `[V, D]`; row 0 is zeros."""
        return self.items.item_vectors()

    def input_vectors(self) -> Tensor | None:
        """Return what the encoder reads for each item, `[V, input_dim]`, or None where that is `item_vectors()`."""
        return None if self.items.tied else self.items.input_vectors()

    @abstractmethod
    def step_module(self) -> nn.Module:
        """Return the step form, sharing these weights; dropout is not part of it.

        It takes `x [B, input_dim]` (input vectors of one item each) and `state [B, state_size]`, zeros at a session's
        start, and returns `state_out [B, state_size]` and `vector [B, D]`, all float32.
        """
