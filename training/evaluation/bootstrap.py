"""Intervals by the bootstrap over sessions (or users): what another sample of visitors would have given.

The predictions of one session depend on one another, so whole sessions are drawn, with replacement, never single
predictions: a cluster bootstrap. Of each resample a metric is the mean over its predictions, as it is of the whole.
Davison and Hinkley, Bootstrap Methods and Their Application, 1997, section 3.8; percentile intervals.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.errors import DataError
from training.evaluation.cases import Ints

RESAMPLES = 1000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A metric, and the bounds that hold 95 % of the resamples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A metric of one model minus another's, on the same cases."""

    a: float
    b: float
    difference: Interval
    above: float
    """Share of the resamples in which a's metric is higher than b's."""


def resampled_means(gains: Floats, clusters: Ints, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return the means of `gains` `[n, M]` in each resample of the clusters, `[resamples, M]`.

    `clusters` `[n]` numbers each case's session or user, in any way. Columns are resampled together, so that they can
    be compared.

    Raises:
        DataError: there are no cases.

    """
    if len(gains) == 0:
        raise DataError("there are no cases to draw samples from; take more data or another protocol")
    _, cluster = np.unique(clusters, return_inverse=True)
    columns = np.column_stack([np.ones(len(gains)), gains])
    count = int(cluster.max()) + 1
    sums = np.stack([np.bincount(cluster, weights=column, minlength=count) for column in columns.T], axis=1)
    random = np.random.default_rng(seed)
    totals = np.empty((resamples, sums.shape[1]))
    for resample in range(resamples):
        drawn = np.bincount(random.integers(0, count, count, dtype=np.int32), minlength=count)
        totals[resample] = drawn @ sums
    return totals[:, 1:] / totals[:, :1]


def intervals(gains: Floats, clusters: Ints, *, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Return the mean of each column of `gains` `[n, M]` with its 95 % interval; raises as `resampled_means` does."""
    drawn = resampled_means(gains, clusters, resamples=resamples, seed=seed)
    return [_interval(mean, column) for mean, column in zip(gains.mean(axis=0), drawn.T, strict=True)]


def paired_difference(a: Floats, b: Floats, clusters: Ints, *, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """Compare two models case by case: `a` and `b` `[n]` are what each case adds to the metric (`serving.ranks.gains`).

    Raises:
        DataError: there are no cases.

    """
    drawn = resampled_means(np.column_stack([a, b]), clusters, resamples=resamples, seed=seed)
    differences = drawn[:, 0] - drawn[:, 1]
    value = float(a.mean() - b.mean())
    return Difference(float(a.mean()), float(b.mean()), _interval(value, differences), float((differences > 0).mean()))


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
