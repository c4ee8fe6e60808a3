"""Fitting the counting models of `serving.counters` from training sessions, in seconds."""

from collections.abc import Sequence

import numpy as np

from serving.counters import Counter
from training.counters.item_knn import ItemKnnConfig, fit_item_knn
from training.counters.item_rules import MARKOV, SequentialRulesConfig, fit_sequential_rules
from training.counters.popularity import PopularityConfig, fit_popularity
from training.counters.session_knn import VMIS_KNN, VSKNN, VSTAN, SessionKnnConfig, fit_session_knn
from training.data.sequences import Rows

CounterConfig = PopularityConfig | SequentialRulesConfig | ItemKnnConfig | SessionKnnConfig

COUNTERS: dict[str, type[CounterConfig]] = {
    "popularity": PopularityConfig,
    "sequential-rules": SequentialRulesConfig,
    "item-knn": ItemKnnConfig,
    "session-knn": SessionKnnConfig,
}
"""Configurations by the name of what they fit."""


def counter_name(config: CounterConfig) -> str:
    """Return the name of what a configuration fits."""
    return next(name for name, known in COUNTERS.items() if type(config) is known)


def fit_counter(
    config: CounterConfig, sequences: Sequence[Rows], items: int, times_ms: Sequence[Rows] | None
) -> Counter:
    """Fit a counter to training sessions.

    Args:
        config: which, and how.
        sequences: item rows of each session, oldest first, 0 where unknown.
        items: the size of the catalogue.
        times_ms: of each session's clicks, UTC epoch milliseconds; None where the data have none.

    Raises:
        WrongUse: the configuration has a half-life, and there are no times.

    """
    ends_ms = None if times_ms is None else np.array([times.max() for times in times_ms], dtype=np.int64)
    match config:
        case PopularityConfig():
            return fit_popularity(sequences, items, config, times_ms=times_ms)
        case SequentialRulesConfig():
            return fit_sequential_rules(sequences, items, config, ends_ms=ends_ms)
        case ItemKnnConfig():
            return fit_item_knn(sequences, items, config, ends_ms=ends_ms)
        case SessionKnnConfig():
            return fit_session_knn(sequences, items, config, ends_ms=ends_ms)


__all__ = [
    "COUNTERS",
    "MARKOV",
    "VMIS_KNN",
    "VSKNN",
    "VSTAN",
    "CounterConfig",
    "ItemKnnConfig",
    "PopularityConfig",
    "SequentialRulesConfig",
    "SessionKnnConfig",
    "counter_name",
    "fit_counter",
    "fit_item_knn",
    "fit_popularity",
    "fit_sequential_rules",
    "fit_session_knn",
]
