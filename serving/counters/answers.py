"""What a counter says of the sessions of a batch, as a blend asks for it."""

from typing import Protocol

import numpy as np

from serving.counters.arrays import Rows
from serving.counters.votes import Scores, Votes


class Answer(Protocol):
    """Candidates, and what the counter gives to those of others too."""

    def top(self, count: int) -> Rows:
        """Return its best items, `[n, count]`, or `[1, count]` where they are the same for all; row 0 where none."""
        ...

    def shares(self, rows: Rows) -> Scores:
        """Return each item's part `[n, C]` of its session's votes; 0 where there are none."""
        ...

    def voters_of(self, rows: Rows) -> Rows:
        """Return the newest item of the session that voted for each, `[n, k]`; row 0 where none did."""
        ...


class VotesAnswer:
    """The votes of each session (see `Answer`)."""

    def __init__(self, votes: Votes) -> None:
        self._votes = votes

    def top(self, count: int) -> Rows:
        """Return `[n, count]`."""
        return self._votes.top(count)[1]

    def shares(self, rows: Rows) -> Scores:
        """Return `[n, C]`."""
        return _shares(self._votes, rows)

    def voters_of(self, rows: Rows) -> Rows:
        """Return `[n, k]`."""
        return self._votes.voters_of(rows)


class CommonAnswer:
    """The votes of one session that are those of all, over a catalogue of so many items (see `Answer`)."""

    def __init__(self, votes: Votes, items: int) -> None:
        self._best = votes.top(items)[1]
        self._shares = _shares(votes, np.arange(items + 1)[None])[0]

    def top(self, count: int) -> Rows:
        """Return `[1, count]`, at most as many as the catalogue has."""
        return self._best[:, :count]

    def shares(self, rows: Rows) -> Scores:
        """Return `[n, C]`."""
        shares: Scores = self._shares[rows]
        return shares

    def voters_of(self, rows: Rows) -> Rows:
        """Return zeros `[n, k]`: no session was looked at."""
        return np.zeros_like(rows)


def _shares(votes: Votes, rows: Rows) -> Scores:
    sums = np.array([votes.scores[a:b].sum() for a, b in zip(votes.begin[:-1], votes.begin[1:], strict=True)])
    found: Scores = (votes.of(rows) / np.maximum(sums, np.finfo(np.float32).tiny)[:, None]).astype(np.float32)
    return found
