"""The index: FAISS finds the item vectors with the largest inner product with a session vector.

A result depends on the query alone, bit for bit: not on what else was in the call, nor on the number of threads.
"""

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

        Raises:
            WrongUse: FAISS does not know the factory string, or cannot build it from so few vectors.

        """
        try:
            index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            items = np.ascontiguousarray(vectors[1:], np.float32)
            if not index.is_trained:
                index.train(items)
            index.add(items)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise WrongUse(
                f"FAISS cannot build index {factory!r} over {len(vectors) - 1} items: {reason}; 'Flat' always works"
            ) from error
        return cls(index)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return scores and rows `[n, k]` of the k items nearest to each query `[n, D]`, best first.

        Equal scores are ordered by row. Where there are fewer than k items, the rest has row 0 and score -inf.
        """
        # With two threads a lone query is cut in two parts, a batch is not: other sums again. The setting belongs to
        # the calling thread, hence here; it costs 0.1 us.
        faiss.omp_set_num_threads(1)
        scores, positions = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        rows = positions.astype(np.int64) + 1
        missing = positions < 0
        if missing.any():
            scores = np.where(missing, -np.inf, scores)
            rows = np.where(missing, 0, rows)
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
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"{name} is no FAISS index ({reason}); build the bundle again") from error
