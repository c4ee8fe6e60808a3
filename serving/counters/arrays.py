"""Lists of different lengths, one after the other in flat arrays: what counters are made of."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""Item rows of one session's events, oldest first, 0 for unknown items; or any other whole numbers."""

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]

# What is at hand at once stays in the processor's cache: several times faster than a batch of millions of pairs.
_AT_ONCE = 200_000
# What a session costs beside its pairs. It also bounds the sessions at hand, whose numbers share a word with others.
_SESSION = 100


class Recent(NamedTuple):
    """The latest known items of each session, newest first: those of session i are `rows[begin[i]:begin[i + 1]]`."""

    begin: Rows
    rows: Rows

    @property
    def sizes(self) -> Rows:
        """The number of items of each session, `[n]`."""
        return np.diff(self.begin)

    @property
    def session(self) -> Rows:
        """The session of each item, `[m]`."""
        return np.repeat(np.arange(len(self.begin) - 1), self.sizes)

    @property
    def age(self) -> Rows:
        """The distance of each item from its session's end, unknown items not counted: 0 for the newest, `[m]`."""
        return np.arange(len(self.rows)) - np.repeat(self.begin[:-1], self.sizes)

    def parts(self, costs: Rows) -> Iterator["Recent"]:
        """Cut into sessions that can be at hand at once; `costs` `[m]` is the number of pairs that an item makes."""
        total = offsets(costs)[self.begin] + _SESSION * np.arange(len(self.begin))
        borders = np.flatnonzero(np.diff(total[1:] // _AT_ONCE, prepend=-1, append=-1)).tolist()
        for first, last in pairwise(borders):
            begin = self.begin[first : last + 1]
            yield Recent(begin - begin[0], self.rows[begin[0] : begin[-1]])


def newest(sessions: Sequence[Rows], window: int) -> Recent:
    """Return the known items among the last `window` events of each session, newest first; row 0 is unknown.

    The only place that cuts a session for a counter: what one reads depends on its own window alone.
    """
    latest = [session[: -window - 1 : -1] for session in sessions]
    rows = [events[events > 0] for events in latest]
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    return Recent(offsets(sizes), np.concatenate([np.zeros(0, np.int64), *rows]))


def offsets(sizes: Ints) -> Rows:
    """Return where lists of these sizes begin, and where the last one ends: `[n + 1]` for sizes `[n]`."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def spread(begin: Ints, sizes: Ints) -> Rows:
    """Return the places of lists in their flat array, list after list: 7, 8, 9, 2 for begins 7, 2 and sizes 3, 1."""
    ends = np.cumsum(sizes, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    places: Rows = np.arange(total) + np.repeat(begin - (ends - sizes), sizes)
    return places


def group(keys: Rows, limit: int) -> tuple[Rows, Mask]:
    """Bring equal keys together: return an order, stable and by key, and where in it a new key begins.

    `keys` are from 0 to below `limit`.
    """
    bits = len(keys).bit_length()
    if limit < 2 ** (63 - bits):
        # Numpy sorts plain integers several times faster than it finds their order: so the places ride along.
        packed = np.sort((keys << bits) | np.arange(len(keys)))
        order, found = packed & (2**bits - 1), packed >> bits
    else:
        order = np.argsort(keys, kind="stable")
        found = keys[order]
    first = np.ones(len(keys), np.bool_)
    first[1:] = found[1:] != found[:-1]
    return order, first
