"""The item table: what an encoder reads for each item, and what a session vector is compared with.

Shape suffixes, this file only:
    D width    V catalogue + 1 (row 0 is padding)
"""

from typing import cast

from torch import Tensor, nn


def unit(x: Tensor) -> Tensor:
    """Return vectors of length 1 along the last axis; a zero vector stays zero."""
    return cast(Tensor, x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12))


class ItemTable(nn.Module):
    """Vectors of all items, `[V, D]`, trained with the encoder.

    Args:
        items: size of the catalogue, without padding.
        dim: D.
        tied: one table for both uses, half the memory; GRU4Rec's authors found it best on all six of their data sets.
        unit_norm: vectors of length 1, so that an inner product with a session vector of length 1 is a cosine, which
            takes an item's popularity out of its length (NISER, https://arxiv.org/abs/1909.04276).
        std: standard deviation of the first values; None: such that vectors have a length of about 1.

    """

    def __init__(self, items: int, *, dim: int, tied: bool, unit_norm: bool, std: float | None = None) -> None:
        super().__init__()
        self.unit_norm = unit_norm
        self._std = dim**-0.5 if std is None else std
        self.output = self._table(items, dim)
        self.input = None if tied else self._table(items, dim)

    def _table(self, items: int, dim: int) -> nn.Embedding:
        table = nn.Embedding(items + 1, dim, padding_idx=0)
        nn.init.normal_(table.weight[1:].detach(), std=self._std)
        return table

    @property
    def tied(self) -> bool:
        """Tell whether both uses share one table."""
        return self.input is None

    def make_sparse(self) -> list[nn.Parameter]:
        """Have the tables' gradients hold the rows that were looked up and no others; return the tables.

        `input_vectors` and `item_vectors` use every row, and still give a gradient of all of them.
        """
        tables = [self.output] if self.input is None else [self.output, self.input]
        for table in tables:
            table.sparse = True
        return [weight for table in tables for weight in table.parameters()]

    def read(self, rows: Tensor) -> Tensor:
        """Return what the encoder reads for items: int64 rows of any shape `[...]` to `[..., D]`."""
        return self._shaped((self.input or self.output)(rows))

    def score(self, rows: Tensor) -> Tensor:
        """Return what session vectors are compared with: int64 rows of any shape `[...]` to `[..., D]`."""
        return self._shaped(self.output(rows))

    def input_vectors(self) -> Tensor:
        """Return what `read` gives for every row, `[V, D]`; row 0 is zeros."""
        return self._shaped((self.input or self.output).weight)

    def item_vectors(self) -> Tensor:
        """Return what `score` gives for every row, `[V, D]`; row 0 is zeros."""
        return self._shaped(self.output.weight)

    def _shaped(self, x: Tensor) -> Tensor:
        return unit(x) if self.unit_norm else x
