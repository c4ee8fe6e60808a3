"""A histogram that costs a quarter of a microsecond an observation; prometheus-client's takes two, and a click has two.

What it gives to a scrape is the same. It keeps no lock: one thread observes, and a scrape that comes between two of its
steps is a microsecond early.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

INFINITY = float("inf")
# From so many values on, numpy is faster than a loop.
MANY = 32


class FastHistogram(Collector):
    """A histogram without labels.

    Args:
        name: of the metric.
        text: what it measures.
        buckets: upper bounds, growing, without infinity.
        registry: where it is registered.

    """

    def __init__(self, name: str, text: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._bounds = [float(bound) for bound in buckets]
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def observe_all(self, values: npt.NDArray[np.float64]) -> None:
        """Count some values."""
        if len(values) < MANY:
            for value in values.tolist():
                self.observe(value)
            return
        found = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        for bucket in np.flatnonzero(found).tolist():
            self._counts[bucket] += int(found[bucket])
        self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give what was counted so far."""
        family = HistogramMetricFamily(self._name, self._text)
        buckets, total = [], 0
        for bound, count in zip([*self._bounds, INFINITY], list(self._counts), strict=True):
            total += count
            buckets.append(("+Inf" if bound == INFINITY else str(bound), float(total)))
        family.add_metric([], buckets, self._sum)
        yield family
