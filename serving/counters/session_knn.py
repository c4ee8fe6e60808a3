"""Session kNN: the training sessions that are most like this one vote for their items.

One family, by its options:

- V-SkNN: Ludewig and Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 2018; the formulas as in
  `algorithms/knn/vsknn.py` of rn5l/session-rec.
- VMIS-kNN: Kersbergen, Sprangers and Schelter, "Serenade", SIGMOD 2022; as in `src/vmisknn` of bolcom/serenade. Its
  index, the m newest sessions of each item, bounds the work of a click; which sessions are compared is the same.
- STAN: Garg et al., "Sequence and Time Aware Neighborhood for Session-based Recommendations", SIGIR 2019, and VSTAN,
  which adds idf and the weight of the match: Ludewig, Mauro, Latifi and Jannach, "Empirical analysis of session-based
  recommendation algorithms", UMUAI 2020; as in `algorithms/knn/vstan.py` of rn5l/session-rec.

A factor of all scores of a session changes no list, so some of theirs are left out: above all the time of the query, in
place of which stands the end of the training clicks. A list stays a function of the clicks alone.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np

from serving.counters.arrays import Floats, Ints, Recent, Rows, group, newest, offsets, spread
from serving.counters.tensors import Tensors, check_lists, check_weights, read_parameters, read_tensors, refuse_unless
from serving.counters.votes import Scores, Voters, Votes, tally

# The bits of a float32 above zero, read as an integer: they keep its order.
_SCORE_BITS = 31
# Sessions at hand, a score and a place among those sampled share a word of 63 bits.
MOST_SAMPLED = 2**20 - 1

Positive = Annotated[int, msgspec.Meta(ge=1)]
Scale = Annotated[float, msgspec.Meta(gt=0)]


class SessionKnnParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How neighbours are found and what they say.

    A session is the known items that are read of it, and an item's age its distance from their end, from 0.
    """

    window: Positive
    """The last events of a session that are read."""
    neighbours: Positive
    """k: the most similar sessions vote; of equally similar ones the newest."""
    sample: Annotated[int, msgspec.Meta(ge=1, le=MOST_SAMPLED)]
    """m: of the sessions with an item in common, the newest are compared; no item keeps more."""
    recency: Literal["linear", "exponential"] = "linear"
    """An item in common counts (length - age) / length, or e to the power of -age / `recency_scale`."""
    recency_scale: Scale = 1.0
    similarity: Literal["dot", "cosine"] = "dot"
    """The sum of these weights by the number of distinct items, or by both sessions' Euclidean lengths."""
    power: Scale = 1.0
    """A neighbour votes with its similarity to this power."""
    match: Literal["same", "linear", "reciprocal", "exponential"] = "linear"
    """A neighbour's votes by the age of the newest item in common: 1; 1 - (age + 1) / 10, not below 0; 1 / (age + 1);
    or e to the power of -age / `match_scale`."""
    match_scale: Scale = 1.0
    nearby_scale: Scale | None = None
    """A neighbour's item, by its distance d in that session from the last item in common: e to the power of
    -d / `nearby_scale`; None is 1."""


class SessionKnn:
    """The sums of what a session's neighbours say.

    A click costs at most `window` x `sample` comparisons and `neighbours` times the longest training session in votes.
    Measured in batches of 256, on one thread: VMIS-kNN with 100 neighbours of 500 takes 45 us on DIGINETICA (43k items)
    and 8 us on Serenade's sample, VSTAN with 500 of 2,500 takes 150 us on DIGINETICA.

    Args:
        begin: where each training session's items begin, `[S + 1]`; sessions are in time order, the newest last.
        items: their distinct item rows, `[m]`.
        places: each item's last place in its session, `[m]`; None where `nearby_scale` is.
        session_weights: what a session's similarity is multiplied by, for its age, `[S]`.
        item_weights: what an item's votes are multiplied by, for its rarity, `[N + 1]`.

    """

    kind: ClassVar[str] = "session-knn"

    def __init__(
        self,
        parameters: SessionKnnParameters,
        begin: Ints,
        items: Ints,
        places: Ints | None,
        session_weights: Scores,
        item_weights: Scores,
    ) -> None:
        self.parameters = parameters
        self.window = parameters.window
        self._begin = begin.astype(np.int32)
        self._items = items.astype(np.int32)
        self._places = None if places is None else places.astype(np.int32)
        self._session_weights = session_weights.astype(np.float32)
        self._item_weights = item_weights.astype(np.float32)
        self._sizes = np.diff(self._begin)
        self._scales = self._session_weights.astype(np.float64)
        if parameters.similarity == "cosine":
            self._scales /= np.sqrt(np.maximum(self._sizes, 1))
        self._match = _match_weights(parameters)
        self._index = _Index.build(self._sizes, self._items, self._places, len(item_weights), parameters.sample)

    def score(self, sessions: Sequence[Rows]) -> Votes:
        """Return what each session's neighbours vote for; items of the session itself among them."""
        recent = newest(sessions, self.window)
        return Votes.join([self._count(part) for part in recent.parts(self._index.sizes[recent.rows])])

    def _count(self, recent: Recent) -> Votes:
        near = self._nearest(self._newest(self._compare(recent), len(recent.sizes)), len(recent.sizes))
        sizes = self._sizes[near.neighbour]
        places = spread(self._begin[near.neighbour], sizes)
        similarity = near.similarity.astype(np.float64) ** self.parameters.power
        votes = np.repeat(similarity * self._match[near.age], sizes)
        if self._places is not None and self.parameters.nearby_scale is not None:
            distance = np.abs(self._places[places] - np.repeat(near.place, sizes))
            votes *= np.exp(distance / -self.parameters.nearby_scale)
        voters = Voters(np.repeat(near.session, sizes), np.repeat(near.age, sizes))
        return tally(recent, voters, self._items[places], votes, len(self._item_weights) - 1).times(self._item_weights)

    def _compare(self, recent: Recent) -> "_Compared":
        """Return all sessions with an item in common, by session and neighbour, and how similar they are."""
        limit = len(self._item_weights)
        order, first = group(recent.session * limit + recent.rows, len(recent.sizes) * limit)
        kept = np.sort(order[first])  # the newest place of each distinct item
        session, rows, age = recent.session[kept], recent.rows[kept], recent.age[kept]
        weights = self._position_weights(age, recent.sizes[session])
        scale = _session_scale(self.parameters.similarity, session, weights, len(recent.sizes))
        sizes = self._index.sizes[rows]
        found = spread(self._index.begin[rows], sizes)
        keys = np.repeat(session * len(self._sizes), sizes) + self._index.sessions[found]
        order, first = group(keys, len(recent.sizes) * len(self._sizes))
        starts = np.flatnonzero(first)
        similarity = np.bincount(np.cumsum(first) - 1, np.repeat(weights, sizes)[order], minlength=len(starts))
        session, neighbour = np.divmod(keys[order[starts]], len(self._sizes))
        place = np.zeros(len(starts), np.int32)
        if self._index.places is not None and len(starts):
            place = np.maximum.reduceat(self._index.places[found[order]], starts)
        scaled = (similarity * (scale[session] * self._scales[neighbour])).astype(np.float32)
        return _Compared(session, neighbour, scaled, np.repeat(age, sizes)[order[starts]], place)

    def _position_weights(self, age: Rows, length: Rows) -> Floats:
        if self.parameters.recency == "linear":
            return (length - age) / length
        return np.exp(age / -self.parameters.recency_scale)

    def _newest(self, found: "_Compared", sessions: int) -> "_Compared":
        """Keep each session's newest `sample` neighbours."""
        begin = np.searchsorted(found.session, np.arange(sessions + 1))
        if np.diff(begin).max(initial=0) <= self.parameters.sample:
            return found
        return found.only(begin[found.session + 1] - np.arange(len(found.session)) <= self.parameters.sample)

    def _nearest(self, found: "_Compared", sessions: int) -> "_Compared":
        """Keep each session's `neighbours` most similar, the newer of equally similar ones."""
        k, bits = self.parameters.neighbours, self.parameters.sample.bit_length()
        begin = np.searchsorted(found.session, np.arange(sessions + 1))
        if np.diff(begin).max(initial=0) <= k:
            return found
        within = np.arange(len(found.session)) - begin[found.session]
        similarity = found.similarity.view(np.int32).astype(np.int64)
        # One number for session, similarity and age: plain integers are sorted several times faster than their order.
        packed = np.sort((((found.session << _SCORE_BITS) | similarity) << bits) | within)
        last = begin[(packed >> (_SCORE_BITS + bits)) + 1]
        packed = packed[last - np.arange(len(packed)) <= k]
        kept = np.zeros(len(found.session), np.bool_)
        kept[begin[packed >> (_SCORE_BITS + bits)] + (packed & (2**bits - 1))] = True
        return found.only(kept)

    def tensors(self) -> Tensors:
        """Return what a bundle keeps: int32 borders, rows and places, float32 weights."""
        tensors = {
            "begin": self._begin,
            "items": self._items,
            "session_weights": self._session_weights,
            "item_weights": self._item_weights,
        }
        return tensors if self._places is None else {**tensors, "places": self._places}

    @classmethod
    def from_tensors(cls, parameters: Mapping[str, Any], tensors: Tensors, items: int) -> "SessionKnn":
        """Read what `tensors` and `parameters` gave, for a catalogue of `items` items.

        Raises:
            BundleError: they are no such counter.

        """
        read = read_parameters(cls.kind, parameters, SessionKnnParameters)
        wanted: dict[str, type[np.generic]] = {"begin": np.int32, "items": np.int32}
        wanted |= {"session_weights": np.float32, "item_weights": np.float32}
        if read.nearby_scale is not None:
            wanted["places"] = np.int32
        begin, rows, session_weights, item_weights, *places = read_tensors(cls.kind, tensors, wanted)
        check_lists(cls.kind, begin, rows, len(session_weights), items + 1)
        check_weights(cls.kind, session_weights, len(session_weights))
        check_weights(cls.kind, item_weights, items + 1)
        refuse_unless(bool((rows > 0).all()), f"{cls.kind}: row 0 is no item, and in no session")
        refuse_unless(all(len(place) == len(rows) for place in places), f"{cls.kind}: not every item has a place")
        return cls(read, begin, rows, places[0] if places else None, session_weights, item_weights)


class _Compared(NamedTuple):
    """Neighbours, by session and from the oldest to the newest, each value `[m]`."""

    session: Rows
    neighbour: Rows
    similarity: Scores
    age: Rows
    """The age of the newest item in common."""
    place: Ints
    """The neighbour's last place with an item in common."""

    def only(self, kept: Any) -> "_Compared":
        return _Compared(*(values[kept] for values in self))


class _Index(NamedTuple):
    """The newest training sessions of each item: those of row r are `sizes[r]` from `begin[r]` on."""

    begin: Rows
    sizes: Rows
    sessions: Ints
    places: Ints | None

    @classmethod
    def build(cls, sizes: Ints, items: Ints, places: Ints | None, rows: int, sample: int) -> "_Index":
        order, _ = group(items.astype(np.int64), rows)
        all_sizes = np.bincount(items, minlength=rows)
        kept = np.minimum(all_sizes, sample)
        order = order[spread(np.cumsum(all_sizes) - kept, kept)]
        sessions = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[order]
        return cls(offsets(kept)[:-1], kept, sessions, None if places is None else places[order])


def _session_scale(similarity: str, session: Rows, weights: Floats, sessions: int) -> Floats:
    """Return what each session's similarities are multiplied by, `[n]`."""
    if similarity == "dot":
        return 1 / np.maximum(np.bincount(session, minlength=sessions), 1)
    squares = np.bincount(session, weights * weights, minlength=sessions)
    return 1 / np.sqrt(np.where(squares > 0, squares, 1))


def _match_weights(parameters: SessionKnnParameters) -> Floats:
    age = np.arange(parameters.window)
    match parameters.match:
        case "linear":
            return np.maximum(1 - (age + 1) / 10, 0)
        case "reciprocal":
            return 1 / (age + 1)
        case "exponential":
            return np.exp(age / -parameters.match_scale)
    return np.ones(parameters.window)
