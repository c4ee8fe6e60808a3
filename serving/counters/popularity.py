"""Popularity: the same votes for everybody."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from serving.counters.arrays import Rows
from serving.counters.tensors import Tensors, check_weights, read_parameters, read_tensors, refuse_unless
from serving.counters.votes import Scores, Votes


class PopularityParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """There is nothing to choose: what is popular was decided in training."""


class Popularity:
    """Votes for the most clicked items, whatever the session.

    Args:
        rows: the items that get votes, ascending, `[m]`.
        scores: their share of all clicks, or any other number above zero, `[m]`.

    """

    kind: ClassVar[str] = "popularity"
    window: ClassVar[int] = 0

    def __init__(self, parameters: PopularityParameters, rows: Rows, scores: Scores) -> None:
        self.parameters = parameters
        self._rows = rows.astype(np.int64)
        self._scores = scores.astype(np.float32)

    def score(self, sessions: Sequence[Rows]) -> Votes:
        """Return the same votes for each session."""
        count, size = len(sessions), len(self._rows)
        rows, scores = np.tile(self._rows, count), np.tile(self._scores, count)
        return Votes(np.arange(count + 1) * size, rows, scores, np.zeros(len(rows), np.int64))

    def tensors(self) -> Tensors:
        """Return what a bundle keeps: int32 rows, float32 scores."""
        return {"rows": self._rows.astype(np.int32), "scores": self._scores}

    @classmethod
    def from_tensors(cls, parameters: Mapping[str, Any], tensors: Tensors, items: int) -> "Popularity":
        """Read what `tensors` and `parameters` gave, for a catalogue of `items` items.

        Raises:
            BundleError: they are no such counter.

        """
        read = read_parameters(cls.kind, parameters, PopularityParameters)
        rows, scores = read_tensors(cls.kind, tensors, {"rows": np.int32, "scores": np.float32})
        refuse_unless(
            bool((np.diff(rows, prepend=0) > 0).all() and (rows <= items).all()),
            f"{cls.kind}: rows must ascend from 1 to {items}",
        )
        check_weights(cls.kind, scores, len(rows))
        refuse_unless(bool((scores > 0).all()), f"{cls.kind}: scores must be above zero")
        return cls(read, rows, scores)
