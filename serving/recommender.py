"""From session vectors to lists: search, exclusion, ties, reasons, and what is shown where nothing is known."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np
import numpy.typing as npt

from serving.errors import WrongUse
from serving.events import Reason, RecommendedItem
from serving.retrieval import NEAR, POPULAR, Found
from serving.session import Moment, as_line, join_lines
from serving.settings import ServingSettings, left_out

if TYPE_CHECKING:
    from serving.bundle import Bundle, Manifest

MODEL_SOURCES = frozenset({"encoder", "counters", "blend"})
"""What lists say of where they come from when their session was looked at."""

# A reason looks at this many of the session's latest known items.
REASON_ITEMS = 10
# Scores are written with so many decimals: shorter lists, and no pretence of more precision than float32 has.
SCORE_DECIMALS = 6
# How far back these are looked for at first: mostly far enough, and the same for every length of a session.
NEAR_EVENTS = 16

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_json = msgspec.json.Encoder()
# What JSON, or a line, cannot hold as it is.
_ESCAPED = re.compile(r'[\x00-\x1f"\\]')
# The reason of an item that no item speaks for, as the form for those of a session gives it, and as it is written. No
# id can hold the first: its quotes would be escaped.
_NO_ITEM = '"reason":{"kind":"session","item_ids":[""]}'
_POPULAR = '"reason":{"kind":"popular","item_ids":[]}'


class RankedList(msgspec.Struct, frozen=True, gc=False):
    """A list before it gets its ids: its items in JSON, and which they are, in lines (`serving.session.as_line`).

    `found` of them were found for the session; those behind are popular and fill the list.
    """

    source: str
    items: msgspec.Raw
    shown: str
    found: int

    @classmethod
    def of(cls, source: str, items: Sequence[RecommendedItem], *, found: int | None = None) -> Self:
        """Return the list of these items; None: all of them were found."""
        lines = join_lines(item.item_id for item in items)
        return cls(source, msgspec.Raw(_json.encode(items)), lines, len(items) if found is None else found)


class Recommender:
    """Makes lists from one bundle. A list depends on its moment and vector alone, not on those beside it.

    Args:
        bundle: what makes them.
        settings: how.
        remembered: the events of a session whose items `exclude = seen` leaves out; None: as many as a worker keeps.

    Raises:
        WrongUse: the bundle's encoder reads more events than a session keeps, or needs what no session tells.

    """

    def __init__(self, bundle: "Bundle", settings: ServingSettings, *, remembered: int | None = None) -> None:
        if bundle.manifest.needs:
            raise WrongUse(
                f"bundle {bundle.id} needs {', '.join(bundle.manifest.needs)}, which no stream knows when it makes a "
                "list: it is for comparisons only; train one with model.time_of=last"
            )
        if bundle.window > settings.session_length:
            raise WrongUse(
                f"bundle {bundle.id} reads the last {bundle.window} events of a session, session_length keeps "
                f"{settings.session_length}: set serving.session_length to {bundle.window} or more"
            )
        self.bundle = bundle
        self.settings = settings
        # The same k for every query: an approximate index may look at other neighbours for another k.
        self._remembered = settings.session_length if remembered is None else remembered
        self._k = min(settings.list_size + left_out(settings.exclude, self._remembered), len(bundle.catalogue))
        self._writer = ListWriter(bundle.catalogue.item_ids, source_of(bundle.manifest))
        self._top = bundle.popular_rows[: self._k].tolist()
        shares = bundle.popularity[self._top] / max(float(bundle.popularity.sum()), 1.0)
        self._shares: list[float] = _rounded(shares).tolist()
        self._popular_lists: dict[tuple[str, int], RankedList] = {}

    def recommend(self, moments: Sequence[Moment], vectors: Vectors, known: Sequence[bool]) -> list[RankedList]:
        """Return a list for each moment, from one search for all of them.

        Args:
            moments: the sessions as the clicks left them.
            vectors: their session vectors, `[n, dim]`.
            known: whether a moment has a vector: the encoder knows no item of its session where it has none.

        """
        if not moments:
            return []
        found = self.bundle.retrieval.search(moments, vectors, known, self._k)
        keep = self._kept(moments, found.rows)
        # What is kept moves to the front, in its order.
        places = np.argsort(~keep, axis=1, kind="stable")[:, : self.settings.list_size]
        sizes = np.minimum(keep.sum(axis=1), self.settings.list_size).tolist()
        if 0 not in sizes:
            return self._written(moments, sizes, found, places)
        some = [at for at, size in enumerate(sizes) if size]
        asked = self._written([moments[at] for at in some], [sizes[at] for at in some], found.only(some), places[some])
        made = iter(asked)
        return [
            next(made) if size else self._popular(moment, "popularity")
            for moment, size in zip(moments, sizes, strict=True)
        ]

    def fall_back(self, moments: Sequence[Moment]) -> list[RankedList]:
        """Return what is popular for each moment, without a search, for a worker that cannot keep up."""
        return [self._popular(moment, "shed") for moment in moments]

    def _written(self, moments: Sequence[Moment], sizes: Sequence[int], found: Found, places: Rows) -> list[RankedList]:
        """Return lists of what was found at these places, `[n, size]`, each its first so many, one at least."""
        if not moments:
            return []
        lists = np.arange(len(moments))[:, None]
        rows, scores = found.rows[lists, places], found.scores[lists, places]
        if found.because is None:
            because = self._nearest(moments, rows)
        else:
            because = self._because(moments, rows, found.because[lists, places])
        made = []
        parts = zip(moments, sizes, rows.tolist(), _rounded(scores).tolist(), because.tolist(), strict=True)
        for moment, size, row, score, near in parts:
            if size == self.settings.list_size:
                made.append(self._writer.near(row, score, near))
            else:
                made.append(self._filled(moment, row[:size], score[:size], near[:size]))
        return made

    def _filled(self, moment: Moment, rows: list[int], scores: list[float], because: list[int]) -> RankedList:
        """Return a list that is too short, filled with what is popular and neither excluded nor in it."""
        out = {*rows, *self._excluded(moment)}
        more = [row for row in self._top if row not in out][: self.settings.list_size - len(rows)]
        # The model says no more of these than that they come after the last one.
        made = self._writer.near(rows + more, scores + scores[-1:] * len(more), because + [POPULAR] * len(more))
        return msgspec.structs.replace(made, found=len(rows))

    def _kept(self, moments: Sequence[Moment], rows: Rows) -> npt.NDArray[np.bool_]:
        """Tell which of the rows `[n, k]` that were found may be in the lists; row 0 is none."""
        keep: npt.NDArray[np.bool_] = rows != 0
        if self.settings.exclude == "current":
            keep &= rows != np.array([[moment.row] for moment in moments])
        elif self.settings.exclude == "seen":
            for moment, kept, found in zip(moments, keep, rows.tolist(), strict=True):
                seen = self._excluded(moment)
                kept &= [row not in seen for row in found]
        return keep

    def _excluded(self, moment: Moment) -> Collection[int]:
        if self.settings.exclude == "none":
            return ()
        if self.settings.exclude == "current":
            return (moment.row,)
        return set(self.bundle.catalogue.known_rows(moment.last(self._remembered)))

    def _because(self, moments: Sequence[Moment], rows: Rows, because: Rows) -> Rows:
        """Return, in place of `NEAR`, that of the session's latest items which is nearest to the row `[n, size]`."""
        lines = np.flatnonzero((because == NEAR).any(axis=1))
        if len(lines):
            nearest = self._nearest([moments[line] for line in lines.tolist()], rows[lines])
            because[lines] = np.where(because[lines] == NEAR, nearest, because[lines])
        return because

    def _nearest(self, moments: Sequence[Moment], rows: Rows) -> Rows:
        """Return, for each row `[n, size]` of the lists, that of the session's latest items which is nearest to it.

        All products have one shape, so that none depends on how many items a session has or which is beside it.
        """
        latest = np.array([self._latest(moment) for moment in moments])
        items, seen = self.bundle.vectors.take(rows, axis=0), self.bundle.vectors.take(latest, axis=0)
        nearest = np.matmul(items, seen.transpose(0, 2, 1)).argmax(axis=2)
        found: Rows = latest[np.arange(len(moments))[:, None], nearest]
        return found

    def _latest(self, moment: Moment) -> list[int]:
        """Return `REASON_ITEMS` rows: the session's latest known items, newest first, the first again at the end."""
        latest: list[int] = []
        for events in (NEAR_EVENTS, self.settings.session_length):
            latest = list(dict.fromkeys(reversed(self.bundle.catalogue.known_rows(moment.last(events)))))
            if len(latest) >= REASON_ITEMS or moment.count <= events:
                break
        return (latest + latest[:1] * REASON_ITEMS)[:REASON_ITEMS]

    def _popular(self, moment: Moment, source: str) -> RankedList:
        if self.settings.exclude == "seen":
            return self._most_clicked(source, self._excluded(moment))
        # There are few such lists: one without each item that is popular, and one for all that are not.
        without = moment.row if moment.row in self._top else 0
        ranked = self._popular_lists.get((source, without))
        if ranked is None:
            ranked = self._most_clicked(source, self._excluded(moment))
            self._popular_lists[source, without] = ranked
        return ranked

    def _most_clicked(self, source: str, excluded: Collection[int]) -> RankedList:
        ids = self.bundle.catalogue.item_ids
        kept = [place for place, row in enumerate(self._top) if row not in excluded][: self.settings.list_size]
        popular = Reason("popular", [])
        items = [RecommendedItem(ids[self._top[p]], self._shares[p], popular) for p in kept]
        return RankedList.of(source, items, found=0)


class ListWriter:
    """Writes lists of a catalogue's items as JSON, the same bytes as `msgspec` gives for the items one by one.

    Args:
        item_ids: by row.
        source: what made the lists.

    """

    def __init__(self, item_ids: Sequence[str], source: str) -> None:
        self._source = source
        self._texts = self._lines = item_ids
        # Hardly an id needs an escape. To ask a million ids one by one would take a second at every start.
        if _ESCAPED.search("".join(item_ids)):
            self._texts = [_json_text(item_id) for item_id in item_ids]
            self._lines = [as_line(item_id) for item_id in item_ids]
        self._forms: dict[int, str] = {}

    def near(self, rows: Sequence[int], scores: Sequence[float], because: Sequence[int]) -> RankedList:
        """Return a list of these rows, each with its score and the row of the item that speaks for it, or `POPULAR`."""
        size = len(rows)
        parts: list[str] = [""] * (3 * size)
        parts[0::3] = map(self._texts.__getitem__, rows)
        parts[1::3] = _json.encode(scores)[1:-1].decode().split(",")[:size]
        parts[2::3] = map(self._texts.__getitem__, because)
        items = self._form(size) % tuple(parts)
        if POPULAR in because:
            items = items.replace(_NO_ITEM, _POPULAR)
        shown = "\n".join(map(self._lines.__getitem__, rows))
        return RankedList(self._source, msgspec.Raw(items.encode()), shown, size)

    def _form(self, size: int) -> str:
        form = self._forms.get(size)
        if form is None:
            item = '{"item_id":"%s","score":%s,"reason":{"kind":"session","item_ids":["%s"]}}'
            form = self._forms[size] = f"[{','.join([item] * size)}]"
        return form


def source_of(manifest: "Manifest") -> str:
    """Return what a bundle's lists say of where they come from: `encoder`, `counters`, or `blend` of both."""
    if not manifest.counters:
        return "encoder"
    return "counters" if manifest.encoder is None else "blend"


def _json_text(text: str) -> str:
    """Return a text as JSON writes it, without the quotes."""
    return _json.encode(text)[1:-1].decode()


def _rounded(scores: Vectors) -> npt.NDArray[np.float64]:
    """Round to `SCORE_DECIMALS`, in float64: the nearest float32 would be written with more of them."""
    return scores.astype(np.float64).round(SCORE_DECIMALS)
