"""Searching a recipe's space: many trainings, judged on the validation part, the hopeless ones stopped early."""

from training.tune.judging import monitored
from training.tune.record import RECORD, Record, Trial, read_record
from training.tune.search import Plan, check_out, search
from training.tune.space import Space, build_space
from training.tune.stage import Seen

__all__ = [
    "RECORD",
    "Plan",
    "Record",
    "Seen",
    "Space",
    "Trial",
    "build_space",
    "check_out",
    "monitored",
    "read_record",
    "search",
]
