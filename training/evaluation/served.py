"""A bundle's figures: from the very lists that a worker would show, or from dense scores of its own encoder."""

import math
import struct
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.encoders import Reading, WindowEncoder
from serving.events import RecommendedItem
from serving.recommender import RankedList, Recommender
from serving.session import Moment, join_lines, last_lines
from serving.settings import MAX_LIST_SIZE, MAX_SESSION_LENGTH, Exclude, ServingSettings
from training.evaluation.cases import Cases, Context
from training.evaluation.dense import Evaluated

# Cases whose lists are made at once: their vectors and candidates stay below 100 MB.
_BATCH = 1024


def evaluate_served(bundle: Bundle, cases: Cases, *, exclude: Exclude, k: int) -> Evaluated:
    """Make the list that a worker would show before each case's click, and look for the click in it.

    Each session is handed to the bundle's own encoder, retrieval and recommender as `serving.process` hands it: a list
    is a function of the session's clicks, so the hits are those that a worker counts live on the same clicks, with two
    exceptions, which protocols ask for. `seen` leaves out all items of a session, however long it is; a worker forgets
    those of its oldest events. And ties count against the model: of items with the same score (of what fills a list:
    with the same popularity), the one that was clicked has the last one's place, in the list or (where a longer one can
    be had) behind its end.
    """
    forgotten = (cases.position > MAX_SESSION_LENGTH) & (exclude == "seen")
    longest = int(cases.position.max(initial=1))
    ranks = np.zeros(len(cases), dtype=np.int64)
    top = np.zeros((len(cases), k), dtype=np.int64)
    for some, remembered in ((np.flatnonzero(~forgotten), None), (np.flatnonzero(forgotten), longest)):
        recommender = Recommender(bundle, serving_settings(exclude, k), remembered=remembered)
        at_the_end = []
        for case, ranked in _lists(bundle, recommender, cases, some):
            shown = bundle.catalogue.rows(_shown(ranked))
            top[case, : len(shown)] = shown
            ranks[case], last = _rank(ranked, shown, int(cases.targets[case]), bundle.popularity)
            at_the_end += [case] if last and len(shown) == k else []
        if k < MAX_LIST_SIZE:
            # Whether the score at the end goes on behind it, a longer list tells.
            longer = Recommender(bundle, serving_settings(exclude, k + 1), remembered=remembered)
            for case, ranked in _lists(bundle, longer, cases, at_the_end):
                shown = bundle.catalogue.rows(_shown(ranked))
                rank, _ = _rank(ranked, shown, int(cases.targets[case]), bundle.popularity)
                ranks[case] = rank if rank <= k else 0
    return Evaluated(ranks, top)


def _lists(
    bundle: Bundle, recommender: Recommender, cases: Cases, some: Sequence[int] | npt.NDArray[np.int64]
) -> Iterator[tuple[int, RankedList]]:
    """Yield these cases, each with its list."""
    moments = Moments.of_bundle(bundle)
    for begin in range(0, len(some), _BATCH):
        part = [int(case) for case in some[begin : begin + _BATCH]]
        asked = [moments.of(at, cases.contexts(case, case + 1)[0]) for at, case in enumerate(part)]
        vectors, known = bundle.encoder.encode([Reading([moment], []) for moment in asked], bundle.catalogue.rows_of)
        yield from zip(part, recommender.recommend(asked, vectors, known), strict=True)


def _rank(
    ranked: RankedList, shown: npt.NDArray[np.int64], target: int, popularity: npt.NDArray[np.float32]
) -> tuple[int, bool]:
    """Return the target's rank in a list, 0 where it is not there, and whether the list's last item scores as it."""
    places = np.flatnonzero(shown == target)
    if not target or not len(places):
        return 0, False
    place, found = int(places[0]), ranked.found
    if place < found:
        items = msgspec.json.decode(ranked.items, type=list[RecommendedItem])
        alike = [item.score == items[place].score for item in items[place:found]]
    else:
        alike = (popularity[shown[place:]] == popularity[target]).tolist()
    place += (alike.index(False) if False in alike else len(alike)) - 1
    return place + 1, place + 1 == len(shown)


def serving_settings(exclude: Exclude, k: int) -> ServingSettings:
    """Return a worker's settings for lists of k over sessions that are cut already."""
    return ServingSettings(exclude=exclude, list_size=k, session_gap_s=math.inf, session_length=MAX_SESSION_LENGTH)


def _shown(ranked: RankedList) -> list[str]:
    return last_lines(ranked.shown, ranked.shown.count("\n") + 1) if ranked.shown else []


class Moments:
    """Sessions as a worker would have them in front of it.

    Args:
        item_ids: by row; that of row 0, which no catalogue knows, stands for all unknown items.
        event_types: by their number less one.

    """

    def __init__(self, item_ids: Sequence[str], event_types: Sequence[str]) -> None:
        self._item_ids = item_ids
        self._types = ("", *event_types)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "Moments":
        """Return moments in the bundle's own terms."""
        spec = bundle.manifest.encoder
        return cls(bundle.catalogue.item_ids, () if spec is None else spec.event_types)

    def of(self, at: int, context: Context) -> Moment:
        """Return a session's last moment."""
        events, types = context.events, self._types
        return Moment(
            at,
            int(events.rows[-1]),
            len(events),
            join_lines([self._item_ids[row] for row in events.rows.tolist()]),
            join_lines([types[number] if number < len(types) else "" for number in events.types.tolist()]),
            struct.pack(f"<{len(events)}q", *events.times.tolist()),
        )


class BundleScorer:
    """A bundle's dense scores: its encoder's session vector times all item vectors, without index, lists and counters.

    The way for encoders that need the query's own time, of which no worker can make a list.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.name = bundle.manifest.model
        self._bundle = bundle
        self._moments = Moments.of_bundle(bundle)

    def scores(self, contexts: Sequence[Context]) -> npt.NDArray[np.float32]:
        """Return inner products `[B, N + 1]`; popularity where a session's window has no known item."""
        vectors, found = self._vectors(contexts)
        scores = np.empty((len(contexts), len(self._bundle.popularity)), dtype=np.float32)
        known = np.array(found, dtype=np.bool_)
        scores[~known] = self._bundle.popularity
        scores[known] = vectors[known] @ self._bundle.vectors.T
        return scores

    def _vectors(self, contexts: Sequence[Context]) -> tuple[npt.NDArray[np.float32], Sequence[bool]]:
        readings = [Reading([self._moments.of(at, context)], []) for at, context in enumerate(contexts)]
        encoder, rows_of = self._bundle.encoder, self._bundle.catalogue.rows_of
        if isinstance(encoder, WindowEncoder):
            return encoder.encode(readings, rows_of, asked_ms=[context.asked_ms for context in contexts])
        return encoder.encode(readings, rows_of)
