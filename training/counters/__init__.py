"""Fitting the counting models of `serving.counters` from training sessions, in seconds."""

from training.counters.item_knn import ItemKnnConfig, fit_item_knn
from training.counters.item_rules import MARKOV, SequentialRulesConfig, fit_sequential_rules
from training.counters.popularity import PopularityConfig, fit_popularity
from training.counters.session_knn import VMIS_KNN, VSKNN, VSTAN, SessionKnnConfig, fit_session_knn

__all__ = [
    "MARKOV",
    "VMIS_KNN",
    "VSKNN",
    "VSTAN",
    "ItemKnnConfig",
    "PopularityConfig",
    "SequentialRulesConfig",
    "SessionKnnConfig",
    "fit_item_knn",
    "fit_popularity",
    "fit_sequential_rules",
    "fit_session_knn",
]
