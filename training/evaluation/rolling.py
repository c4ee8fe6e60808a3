"""A model fitted anew on each cycle of a protocol: what days or weeks of retraining would have given."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from serving.catalogue import Catalogue
from training.data.clean import Preparation
from training.data.dataset import read_test, read_training
from training.data.protocol import Protocol
from training.data.readers import ReadOptions
from training.data.sequences import build_catalogue
from training.data.splits import Training
from training.evaluation.case_ranks import CaseRanks, case_ranks
from training.evaluation.dense import evaluate_dense
from training.evaluation.protocols import catalogue_task
from training.evaluation.scorers import Scorer
from training.evaluation.terms import Terms

Fit = Callable[[Training, Catalogue], Scorer]
"""Fits a model on training clicks, to score the rows of a catalogue. It is never handed a test click."""


def rank_cycles(
    fit: Fit,
    path: Path,
    terms: Terms,
    *,
    preparation: Preparation | None = None,
    options: ReadOptions | None = None,
    refit: bool = True,
) -> Iterator[tuple[Protocol, CaseRanks]]:
    """Yield each cycle of the terms' protocol, oldest first, and the dense ranks of a model fitted on all before it.

    `training.evaluation.case_ranks.pool` joins them, so that figures and intervals are over the cases of all cycles.
    Without `refit`, the model gets each cycle's training without its validation part, and that part apart.
    """
    for one in terms.protocol.cycles():
        training = read_training(path, one, preparation, options, refit=refit)
        catalogue = build_catalogue(training.clicks.frame)
        held_out = read_test(path, one, preparation, options)
        task = catalogue_task(held_out, training, catalogue, None, replace(terms, protocol=one))
        scorer = fit(training, catalogue)
        found = evaluate_dense(scorer, task.cases, len(catalogue), exclude=terms.counted.exclude)
        yield one, case_ranks(task.held_out, task.cases, found.ranks)
