"""A bundle in memory: what training hands over, and what serving loads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.bundle.manifest import BlendSpec, EncoderSpec, Manifest
from serving.catalogue import Catalogue
from serving.counters import Counter
from serving.encoders import Encoder
from serving.events import MAX_TIMESTAMP_MS
from serving.index import Index
from serving.retrieval import NoEncoder, Retrieval

Vectors = npt.NDArray[np.float32]


class GoldenEvents(msgspec.Struct, frozen=True, kw_only=True):
    """A session, oldest event first: item ids, event types, and times in milliseconds."""

    items: Annotated[list[str], msgspec.Meta(min_length=1)]
    types: list[str]
    times: list[Annotated[int, msgspec.Meta(ge=-MAX_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)]]

    def __post_init__(self) -> None:
        if not len(self.items) == len(self.types) == len(self.times):
            raise ValueError(f"a session of {len(self.items)} items, {len(self.types)} types, {len(self.times)} times")


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """What training puts into a bundle: an encoder, counters or both.

    N is the number of items; row 0 of each table is padding, all zeros.
    """

    item_ids: Sequence[str]
    """The items, `[N]`, in the order of their rows from 1."""
    popularity: Vectors
    """Clicks of each item in the training data, `[N + 1]`."""
    encoder: EncoderSpec | None = None
    encoder_onnx: bytes = b""
    """The network in the form that `encoder.form` names."""
    vectors: Vectors | None = None
    """Item vectors `[N + 1, dim]`: the nearest items have the largest inner product with the session vector."""
    input_vectors: Vectors | None = None
    """What the encoder reads for each item, `[N + 1, input_dim]`; None where these are the item vectors (tied)."""
    type_vectors: Vectors | None = None
    """What it reads for each of `encoder.event_types`, `[n + 1, input_dim]`, row 0 for the others; None where none."""
    silence_vectors: Vectors | None = None
    """What it reads for each silence, `[SILENCES, input_dim]` (`serving.encoders.events`), or None."""
    counters: Sequence[Counter] = ()
    blend: BlendSpec | None = None
    """How encoder and counters are added up; None where the encoder is alone."""
    titles: Sequence[str] | None = None
    index_factory: str = "Flat"
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    code_revision: str = "unknown"
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    golden_sessions: Sequence[GoldenEvents] = ()
    """Sessions whose lists the bundle stores and every loading worker checks: one at least, but none for a bundle that
    no worker can serve."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded, verified bundle."""

    id: str
    directory: Path
    manifest: Manifest
    catalogue: Catalogue
    encoder: Encoder | NoEncoder
    index: Index | None
    """The index over the encoder's item vectors; None where there is no encoder."""
    vectors: Vectors
    """Item vectors `[N + 1, dim]`, of no width where there is no encoder."""
    popularity: Vectors
    retrieval: Retrieval
    window: int
    """Events of a session that are read at most."""

    @cached_property
    def popular_rows(self) -> npt.NDArray[np.int64]:
        """Rows of all items, most clicked first, ties by row."""
        rows = np.arange(1, len(self.popularity), dtype=np.int64)
        return rows[np.lexsort((rows, -self.popularity[1:]))]
