"""From a session vector to a list: search, exclusion, ties, reasons, and what is shown where nothing is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.errors import WrongUse
from serving.events import Reason, RecommendedItem
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.bundle import Bundle

# A reason looks at this many of the session's latest known items.
REASON_ITEMS = 10
# Scores are written with so many decimals: shorter lists, and no pretence of more precision than float32 has.
SCORE_DECIMALS = 6


class Query(NamedTuple):
    """What a list is asked for: the session vector `[dim]`, None where no item of the session is known.

    `rows` are the session's known items, oldest first; `current` is the row of the item just clicked, 0 if unknown.
    """

    vector: npt.NDArray[np.float32] | None
    rows: Sequence[int]
    current: int


class RankedList(NamedTuple):
    """A list before it gets its ids."""

    source: str
    items: list[RecommendedItem]


class Recommender:
    """Makes lists from one bundle. A list depends on its query alone, not on the queries beside it.

    Raises:
        WrongUse: the bundle's encoder reads more events than a session keeps.

    """

    def __init__(self, bundle: "Bundle", settings: ServingSettings) -> None:
        window = bundle.manifest.encoder.window
        if window > settings.session_length:
            raise WrongUse(
                f"bundle {bundle.id} reads the last {window} events of a session, session_length keeps "
                f"{settings.session_length}: set serving.session_length to {window} or more"
            )
        self.bundle = bundle
        self.settings = settings
        # The same k for every query: an approximate index may look at other neighbours for another k.
        excluded = {"none": 0, "current": 1, "seen": settings.session_length}[settings.exclude]
        self._k = min(settings.list_size + excluded, len(bundle.catalogue))

    def recommend(self, queries: Sequence[Query]) -> list[RankedList]:
        """Return a list for each query, from one search for all of them."""
        vectors = [query.vector for query in queries if query.vector is not None]
        if vectors:
            scores, rows = self.bundle.index.search(np.stack(vectors), self._k)
            found = iter(zip(scores, rows, strict=True))
        return [
            self._popular(query) if query.vector is None else self._encoded(query, *next(found)) for query in queries
        ]

    def fall_back(self, queries: Sequence[Query]) -> list[RankedList]:
        """Return what is popular for each query, without a search, for a worker that cannot keep up."""
        return [self._popular(query)._replace(source="shed") for query in queries]

    def _kept(self, query: Query, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        excluded = {"none": [], "current": [query.current], "seen": query.rows}[self.settings.exclude]
        return np.isin(rows, [0, *excluded], invert=True)

    def _encoded(self, query: Query, scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> RankedList:
        keep = np.flatnonzero(self._kept(query, rows))[: self.settings.list_size]
        rows, scores = rows[keep], scores[keep]
        return RankedList("encoder", self._items(rows, scores, self._session_reasons(query, rows)))

    def _session_reasons(self, query: Query, rows: npt.NDArray[np.int64]) -> list[Reason]:
        """Name, for each item of the list, the one of the session's latest items whose vector is nearest to it."""
        latest = list(dict.fromkeys(reversed(query.rows)))[:REASON_ITEMS]
        ids = self.bundle.catalogue.item_ids
        similarity = self.bundle.vectors[rows] @ self.bundle.vectors[latest].T
        return [Reason("session", [ids[latest[i]]]) for i in similarity.argmax(axis=1).tolist()]

    def _popular(self, query: Query) -> RankedList:
        rows = self.bundle.popular_rows[: self._k]
        rows = rows[self._kept(query, rows)][: self.settings.list_size]
        shares = self.bundle.popularity[rows] / max(float(self.bundle.popularity.sum()), 1.0)
        return RankedList("popularity", self._items(rows, shares, [Reason("popular", [])] * len(rows)))

    def _items(
        self, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], reasons: Sequence[Reason]
    ) -> list[RecommendedItem]:
        ids = self.bundle.catalogue.item_ids
        return [
            RecommendedItem(ids[row], round(score, SCORE_DECIMALS), reason)
            for row, score, reason in zip(rows.tolist(), scores.tolist(), reasons, strict=True)
        ]
