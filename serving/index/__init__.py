"""The index: FAISS finds the item vectors with the largest inner product with a session vector.

A result depends on the query alone, bit for bit: not on what else was in the call, nor on the number of threads.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from serving.errors import BundleError, WrongUse

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# From 20 queries on, a flat index multiplies matrices with BLAS, whose sums are in another order than those of the
# single query: the same query would get other scores in a large batch. So never.
faiss.cvar.distance_compute_blas_threshold = 2**31 - 1

# What FAISS puts before its message: the C++ function, its source file, and the condition, if words follow it.
_WHERE = re.compile(r"^Error in .*? at \S+:\d+: (Error: ('.*' failed: (?=\S))?)?", re.DOTALL)


class Index:
    """Item vectors of one bundle, searchable; position i of FAISS is row i + 1 of the catalogue."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self._index.d)

    @classmethod
    def build(cls, vectors: Vectors, factory: str) -> "Index":
        """Build from the item vectors `[N + 1, D]` (row 0, the padding, is left out) by FAISS's factory string.

        After a space may stand FAISS's parameters of such an index, which are kept with it: `HNSW16
        efConstruction=100,efSearch=32`, `IVF256,Flat nprobe=16`.

        Raises:
            WrongUse: FAISS does not know the factory string, or cannot build it from so few vectors.

        """
        items = np.ascontiguousarray(vectors[1:], np.float32)
        with _building(factory, len(items)):
            index = _trained(factory, items)
            index.add(items)
        return cls(index)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return scores and rows `[n, k]` of the k items nearest to each query `[n, D]`, best first.

        Equal scores are ordered by row. Where there are fewer than k items, the rest has row 0 and score -inf.
        """
        # With two threads a lone query is cut in two parts, a batch is not: other sums again. The setting belongs to
        # the calling thread, hence here; it costs 0.1 us.
        faiss.omp_set_num_threads(1)
        scores, positions = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        rows: Rows = positions.astype(np.int64) + 1
        if (scores[:, 1:] < scores[:, :-1]).all() and rows[:, -1].all():
            return scores, rows  # as almost always: no two scores are equal, and nothing is missing
        scores = np.where(rows == 0, np.float32(-np.inf), scores)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def serialize(self) -> bytes:
        """Return the bytes of the index file."""
        return bytes(faiss.serialize_index(self._index))

    @classmethod
    def deserialize(cls, raw: bytes, name: str) -> "Index":
        """Return the index of a file's contents.

        Raises:
            BundleError: FAISS cannot read the contents, of a file that is called `name`.

        """
        try:
            return cls(faiss.deserialize_index(np.frombuffer(raw, np.uint8)))
        except RuntimeError as error:
            raise BundleError(f"{name} is no FAISS index ({_reason(error)}); build the bundle again") from error


def check_factory(factory: str, items: int, dim: int) -> None:
    """Try a factory string on random vectors, before somebody spends hours on those that it is for.

    Raises:
        WrongUse: FAISS does not know it, or cannot build it over so few items of this width.

    """
    # More clusters than 65,536 are for catalogues of millions, and a hundred items show whether it can be filled.
    random = np.random.default_rng(0).standard_normal((min(items, 65_536), dim), dtype=np.float32)
    with _building(factory, items):
        _trained(factory, random).add(random[:100])


def _trained(factory: str, items: Vectors) -> Any:
    structure, _, parameters = factory.partition(" ")
    index = faiss.index_factory(items.shape[1], structure, faiss.METRIC_INNER_PRODUCT)
    if parameters:
        space: Any = faiss.ParameterSpace()  # faiss's own types know one of its two forms only
        space.set_index_parameters(index, parameters)
    if not index.is_trained:
        index.train(items)
    return index


@contextmanager
def _building(factory: str, items: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise WrongUse(
            f"FAISS cannot build index {factory!r} over {items} items: {_reason(error)}; 'Flat' always works"
        ) from error


def _reason(error: RuntimeError) -> str:
    return _WHERE.sub("", str(error).strip())
