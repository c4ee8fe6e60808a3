"""What a counter answers: for each session of a batch, the items that got votes, and how many."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.counters.arrays import Floats, Ints, Recent, Rows, group, offsets

Scores = npt.NDArray[np.float32]

# A float32 above zero read as an integer keeps its order; the row below it breaks ties.
_ROW_BITS = 32
# One pass over an empty cell costs as much as an eighth of sorting a pair.
_CELLS_PER_PAIR = 8


@dataclass(frozen=True)
class Votes:
    """The items with votes, session by session: those of session i are at `begin[i]:begin[i + 1]`.

    `begin` is `[n + 1]`; `rows` `[m]` ascend within a session; `scores` `[m]` are above zero; `voters` `[m]` are the
    newest item of the session that voted, row 0 where none did. What a session got depends on that session alone, bit
    for bit.
    """

    begin: Rows
    rows: Rows
    scores: Scores
    voters: Rows

    def __len__(self) -> int:
        return len(self.begin) - 1

    @classmethod
    def join(cls, parts: Sequence["Votes"]) -> "Votes":
        """Return the votes of several batches as those of one."""
        sizes = [np.zeros(1, np.int64), *(np.diff(part.begin) for part in parts)]
        rows = np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)])
        scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
        voters = np.concatenate([np.zeros(0, np.int64), *(part.voters for part in parts)])
        return cls(np.cumsum(np.concatenate(sizes)), rows, scores, voters)

    def times(self, weights: Scores) -> "Votes":
        """Return the votes with each item's multiplied by its weight `[N + 1]`; what becomes zero is no vote."""
        scores = self.scores * weights[self.rows]
        kept = scores > 0
        return Votes(offsets(kept.astype(np.int64))[self.begin], self.rows[kept], scores[kept], self.voters[kept])

    def top(self, k: int) -> tuple[Scores, Rows]:
        """Return scores and rows `[n, k]` of each session's best, best first, ties by row; 0 and row 0 where none."""
        keys = (self.scores.view(np.int32).astype(np.int64) << _ROW_BITS) | (2**_ROW_BITS - 1 - self.rows)
        best = np.full((len(self), k), 2**_ROW_BITS - 1, np.int64)
        borders = self.begin.tolist()
        for line, (begin, end) in zip(best, pairwise(borders), strict=True):
            found = keys[begin:end]
            if end - begin > k:
                found = np.partition(found, end - begin - k)[-k:]
            line[: len(found)] = np.sort(found)[::-1]
        scores = (best >> _ROW_BITS).astype(np.int32).view(np.float32)
        return scores, 2**_ROW_BITS - 1 - (best & (2**_ROW_BITS - 1))

    def of(self, candidates: Rows) -> Scores:
        """Return the scores `[n, k]` of the rows `[n, k]`, 0 where an item got no vote."""
        largest = max(int(self.rows.max(initial=0)), int(candidates.max(initial=0)))
        line = np.zeros(largest + 1, np.float32)
        found = np.empty(candidates.shape, np.float32)
        borders = self.begin.tolist()
        for i, (begin, end) in enumerate(pairwise(borders)):
            line[self.rows[begin:end]] = self.scores[begin:end]
            found[i] = line[candidates[i]]
            line[self.rows[begin:end]] = 0
        return found

    def voters_of(self, rows: Rows) -> Rows:
        """Return the voters `[n, k]` of the rows `[n, k]`, 0 where an item got no vote of the session's."""
        limit = max(int(self.rows.max(initial=0)), int(rows.max(initial=0))) + 1
        session = np.repeat(np.arange(len(self)), np.diff(self.begin))
        # Behind all, a key that nobody asks for: so every place can be looked up.
        keys = np.append(session * limit + self.rows, -1)
        wanted = np.arange(len(self))[:, None] * limit + rows
        places = np.searchsorted(keys[:-1], wanted)
        return np.where(keys[places] == wanted, np.append(self.voters, 0)[places], 0)

    def dense(self, items: int) -> Scores:
        """Return the scores of the whole catalogue, `[n, items + 1]`."""
        scores = np.zeros((len(self), items + 1), np.float32)
        scores[np.repeat(np.arange(len(self)), np.diff(self.begin)), self.rows] = self.scores
        return scores


class Voters(NamedTuple):
    """Who gives each vote: `session` `[p]`, from 0, and `age` `[p]`, the place among the session's recent items."""

    session: Rows
    age: Rows


def tally(recent: Recent, voters: Voters, rows: Ints, weights: Floats, items: int) -> Votes:
    """Add up the weights `[p]` of the rows `[p]` that the voters of each session vote for, in their order."""
    sessions = len(recent.begin) - 1
    keys = voters.session * (items + 1) + rows
    cells = sessions * (items + 1)
    # Both ways add the same numbers in the same order, so the choice, which the batch decides, changes no bit.
    if cells <= _CELLS_PER_PAIR * len(keys):
        sums = np.bincount(keys, weights, minlength=cells)
        newest = np.full(cells, len(recent.rows), voters.age.dtype)
        np.minimum.at(newest, keys, voters.age)
        found = np.flatnonzero(sums)
        scores, ages = sums[found].astype(np.float32), newest[found]
    else:
        order, first = group(keys, cells)
        starts = np.flatnonzero(first)
        found = keys[order[starts]]
        scores = np.bincount(np.cumsum(first) - 1, weights[order]).astype(np.float32)
        ages = np.minimum.reduceat(voters.age[order], starts) if len(starts) else found
    kept = scores > 0
    found, scores, ages = found[kept], scores[kept], ages[kept]
    session, voted = np.divmod(found, items + 1)
    begin = np.searchsorted(found, np.arange(sessions + 1) * (items + 1))
    return Votes(begin.astype(np.int64), voted, scores, recent.rows[recent.begin[session] + ages])
