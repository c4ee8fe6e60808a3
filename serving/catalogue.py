"""The catalogue: which items can be recommended, and the row that stands for each inside a bundle."""

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

# Row 0 stands for "no item": padding in training, an item that the bundle does not know in serving.
PADDING = 0


class Catalogue:
    """Items of one bundle: `item_id` (a string from outside) and row (1 to the number of items).

    Args:
        item_ids: without padding; the first gets row 1.
        titles: one for each item, for people to read, or None.

    """

    def __init__(self, item_ids: Sequence[str], titles: Sequence[str] | None = None) -> None:
        self.item_ids: list[str] = ["", *item_ids]
        self._titles = None if titles is None else ["", *titles]
        self._rows = {item_id: row for row, item_id in enumerate(self.item_ids) if row != PADDING}

    def __len__(self) -> int:
        return len(self.item_ids) - 1

    def row(self, item_id: str) -> int:
        """Return the item's row, 0 for an item that this catalogue does not know."""
        return self._rows.get(item_id, PADDING)

    def rows(self, item_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the items' rows, int64 `[n]`, 0 where this catalogue does not know the item."""
        row = self._rows.get
        return cast(npt.NDArray[np.int64], np.fromiter((row(item, PADDING) for item in item_ids), np.int64))

    def rows_of(self, item_ids: Sequence[str]) -> list[int]:
        """Return the items' rows as a list, which is quicker than an array for the few items of a session."""
        row = self._rows.get
        return [row(item, PADDING) for item in item_ids]

    def known_rows(self, item_ids: Iterable[str]) -> list[int]:
        """Return the rows of those of the items that this catalogue knows, in their order."""
        return [row for row in map(self._rows.get, item_ids) if row]

    def title(self, item_id: str) -> str:
        """Return what a person would call the item: its title, or its id where there is none."""
        row = self.row(item_id)
        return item_id if self._titles is None or row == PADDING else self._titles[row]
