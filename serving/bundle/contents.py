"""A bundle in memory: what training hands over, and what serving loads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.manifest import EncoderSpec, Manifest
from serving.catalogue import Catalogue
from serving.encoders import Encoder
from serving.index import Index

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """What training puts into a bundle. N is the number of items; row 0 of each table is padding, all zeros."""

    encoder: EncoderSpec
    encoder_onnx: bytes
    """The network in the form that `encoder.form` names."""
    item_ids: Sequence[str]
    """The items, `[N]`, in the order of their rows from 1."""
    vectors: Vectors
    """Item vectors `[N + 1, dim]`: a list is what has the largest inner product with the session vector."""
    popularity: Vectors
    """Clicks of each item in the training data, `[N + 1]`."""
    input_vectors: Vectors | None = None
    """What the encoder reads for each item, `[N + 1, input_dim]`; None where these are the item vectors (tied)."""
    type_vectors: Vectors | None = None
    """What it reads for each of `encoder.event_types`, `[n + 1, input_dim]`, row 0 for the others; None where none."""
    silence_vectors: Vectors | None = None
    """What it reads for each silence, `[SILENCES, input_dim]` (`serving.encoders.events`), or None."""
    titles: Sequence[str] | None = None
    index_factory: str = "Flat"
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    code_revision: str = "unknown"
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    golden_sessions: Sequence[Sequence[str]] = ()
    """Sessions (item ids, oldest first) whose lists the bundle stores and every loading worker checks; none for a
    bundle that no worker can serve."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded, verified bundle."""

    id: str
    directory: Path
    manifest: Manifest
    catalogue: Catalogue
    encoder: Encoder
    index: Index
    vectors: Vectors
    popularity: Vectors

    @cached_property
    def popular_rows(self) -> npt.NDArray[np.int64]:
        """Rows of all items, most clicked first, ties by row."""
        rows = np.arange(1, len(self.popularity), dtype=np.int64)
        return rows[np.lexsort((rows, -self.popularity[1:]))]
