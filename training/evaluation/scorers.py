"""What an evaluation asks for scores: bundles, networks, and the counters that any encoder has to beat."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.counters import Counter
from training.counters import MARKOV, fit_popularity, fit_sequential_rules
from training.data.sequences import Rows, popularity
from training.evaluation.cases import Context

# A baseline of recent clicks: the latest tenth of training.
_RECENT = 0.1


class Scorer(Protocol):
    """Anything that scores the catalogue for sessions: a baseline, a bundle, a network."""

    name: str

    def scores(self, contexts: Sequence[Context]) -> npt.NDArray[np.floating]:
        """Return `[B, N + 1]`, higher is better; column 0 is padding and means nothing."""
        ...


class CounterScorer:
    """A counter's votes, over the whole catalogue: what it cannot tell apart stands in the order of popularity.

    Args:
        name: what reports call it.
        counter: the fitted model.
        popularity: clicks in training, `[N + 1]`.

    """

    def __init__(self, name: str, counter: Counter, popularity: npt.NDArray[np.floating]) -> None:
        self.name = name
        self._counter = counter
        # In float32, 1 + 1e-9 would be 1.
        self._share = popularity.astype(np.float64) / max(float(popularity.max()), 1.0)

    def scores(self, contexts: Sequence[Context]) -> npt.NDArray[np.float64]:
        """Return the votes where there are any, and -1 to 0 by popularity where there are none."""
        votes = self._counter.score([context.events.rows for context in contexts])
        given = votes.scores > 0
        lines, rows = np.repeat(np.arange(len(votes)), np.diff(votes.begin))[given], votes.rows[given]
        scores = np.tile(self._share - 1, (len(votes), 1))
        # Equal votes are parted by less than the last digit of a float32, so no others are exchanged.
        scores[lines, rows] = votes.scores[given].astype(np.float64) * (1 + 1e-9 * self._share[rows])
        return scores


def fit_baselines(clicks: Rows, sequences: Sequence[Rows], items: int) -> list[Scorer]:
    """Fit the baselines of a report on training clicks: `clicks` in time order, `sequences` the same by session."""
    counts = popularity(sequences, items)
    latest = clicks[len(clicks) - max(1, round(_RECENT * len(clicks))) :]
    return [
        CounterScorer("popularity", fit_popularity(sequences, items), counts),
        CounterScorer("recent popularity", fit_popularity([latest], items), popularity([latest], items)),
        CounterScorer("last-item Markov", fit_sequential_rules(sequences, items, MARKOV), counts),
        CounterScorer("sequential rules", fit_sequential_rules(sequences, items), counts),
    ]
