"""From a bundle and a data set to figures: hold out, fit the baselines, predict, count."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from serving.bundle import Bundle
from serving.catalogue import Catalogue
from serving.errors import WrongUse
from serving.ranks import Ranks, gains, summary
from serving.settings import MAX_LIST_SIZE
from training.data.clean import Preparation
from training.data.cuts import HeldOut
from training.data.dataset import counted, read_description, read_test, read_training
from training.data.readers import ReadOptions
from training.data.sequences import Rows, to_sequences
from training.data.splits import Training
from training.evaluation.bootstrap import intervals
from training.evaluation.case_ranks import CaseRanks, case_ranks
from training.evaluation.cases import Cases, Ints, build_cases
from training.evaluation.dense import Evaluated, evaluate_dense
from training.evaluation.groups import popularity_groups
from training.evaluation.metrics import list_figures
from training.evaluation.scorers import fit_baselines
from training.evaluation.served import BundleScorer, evaluate_served
from training.evaluation.terms import Terms
from training.warm_start import learned_before

INTERVAL_METRICS = ("recall", "mrr", "ndcg")


@dataclass(frozen=True)
class Task:
    """The cases of a protocol, in the rows of one catalogue, and what is known of its items."""

    held_out: HeldOut
    """As the terms count them: clicks on unknown items and short sessions left out, where they say so."""
    cases: Cases
    catalogue: Catalogue
    clicks: npt.NDArray[np.int64]
    """Each item's clicks in training, `[N + 1]`."""
    vectors: npt.NDArray[np.float32] | None
    """The item vectors `[N + 1, D]` by which the diversity of all models' lists is measured."""


@dataclass(frozen=True)
class Row:
    """One model's figures."""

    model: str
    path: str
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """95 % of the bootstrap's resamples lie between these, for some of the figures."""
    groups: list[dict[str, float | int | str]]
    """Figures by popularity of the clicked item, and for cold items (`training.evaluation.groups`)."""


@dataclass(frozen=True)
class Report:
    """A table of figures under the same terms, on the same cases."""

    terms: Terms
    cases: int
    sessions: int
    clicks: int
    unknown_targets: int
    rows: list[Row]
    bundle: str
    seed: int
    trained_on: dict[str, Any]
    tested_on: dict[str, Any]
    same_training: bool
    """The bundle was trained on the very clicks that the baselines were fitted on, and started from no other."""
    ranks: CaseRanks
    """The bundle's rank of each case."""
    command: str = ""
    preparation: Preparation = field(default_factory=Preparation)
    refit: bool = False
    """The bundle was trained on the validation part too."""


def evaluate(
    bundle: Bundle,
    path: Path,
    terms: Terms,
    *,
    preparation: Preparation | None = None,
    options: ReadOptions | None = None,
    command: str = "",
) -> Report:
    """Evaluate a bundle and the baselines on the held-out clicks of a data set.

    The baselines are fitted on the training clicks of the same split, over the bundle's catalogue. `preparation`
    is the bundle's own where it is not given.

    Raises:
        WrongUse: the terms ask for lists that the bundle cannot give (`path_of`).

    """
    way = path_of(bundle, terms)
    data = bundle.manifest.data
    preparation = preparation or read_description(data)[1]
    training = read_training(path, terms.protocol, preparation, options, refit=bool(data.get("refit", False)))
    held_out = read_test(path, terms.protocol, preparation, options)
    task = make_task(held_out, training, bundle, terms)
    found = rank_bundle(bundle, task, terms)
    return Report(
        terms=terms,
        cases=len(task.cases),
        sessions=task.held_out.log.sessions,
        clicks=len(task.held_out.log),
        unknown_targets=int((task.cases.targets == 0).sum()),
        rows=[
            make_row(bundle.manifest.model, way, found, task, terms),
            *baseline_rows(training, task, terms),
        ],
        bundle=bundle.id,
        seed=bundle.manifest.seed,
        trained_on=training.clicks.summary(),
        tested_on=task.held_out.log.summary(),
        same_training={data.get("fingerprint"), *learned_before(bundle.manifest)} == {training.clicks.fingerprint},
        ranks=case_ranks(task.held_out, task.cases, found.ranks),
        command=command,
        preparation=preparation,
        refit=training.refit,
    )


def make_task(held_out: HeldOut, training: Training, bundle: Bundle, terms: Terms) -> Task:
    """Return the cases of held-out clicks under the terms, in a bundle's rows and numbers."""
    spec = bundle.manifest.encoder
    vectors = bundle.vectors if bundle.vectors.shape[1] else None
    return catalogue_task(held_out, training, bundle.catalogue, vectors, terms, spec.event_types if spec else ())


def catalogue_task(
    held_out: HeldOut,
    training: Training,
    catalogue: Catalogue,
    vectors: npt.NDArray[np.float32] | None,
    terms: Terms,
    event_types: Sequence[str] = (),
) -> Task:
    """Return the cases of held-out clicks under the terms, in the rows of a catalogue; `vectors` are its items'."""
    held_out = counted(held_out, terms.counted, pl.Series(catalogue.item_ids[1:]))
    rows = catalogue.rows(training.clicks.frame.get_column("item_id"))
    clicks = np.bincount(rows, minlength=len(catalogue) + 1)
    clicks[0] = 0
    return Task(held_out, build_cases(held_out, catalogue, event_types), catalogue, clicks, vectors)


def rank_bundle(bundle: Bundle, task: Task, terms: Terms) -> Evaluated:
    """Rank the cases with a bundle, by the path that the terms name, with lists of `terms.k`."""
    exclude = terms.counted.exclude
    if path_of(bundle, terms) == "served":
        return evaluate_served(bundle, task.cases, exclude=exclude, k=terms.k)
    return evaluate_dense(BundleScorer(bundle), task.cases, len(task.catalogue), exclude=exclude, k=terms.k)


def path_of(bundle: Bundle, terms: Terms) -> Literal["served", "dense"]:
    """Return the way that a bundle's figures go: dense where the terms leave it open and no worker can serve it.

    Raises:
        WrongUse: the terms ask for a way that does not lead to this bundle's lists, or for lists longer than a worker
            makes.

    """
    needs = ", ".join(bundle.manifest.needs)
    if needs and bundle.manifest.counters:
        raise WrongUse(
            f"bundle {bundle.id} needs {needs}, so it gives no lists to be looked at, and has counters, which no dense "
            "scores show: train one of the encoder alone, or with model.time_of=last"
        )
    if needs and terms.through == "served":
        raise WrongUse(
            f"bundle {bundle.id} needs {needs}, so it gives no lists to be looked at: evaluate it with --through dense"
        )
    if bundle.manifest.counters and terms.through == "dense":
        raise WrongUse(
            f"bundle {bundle.id} has counters, which no dense scores show: evaluate it with --through served"
        )
    way: Literal["served", "dense"] = "dense" if needs or terms.through == "dense" else "served"
    if way == "served" and terms.k > MAX_LIST_SIZE:
        instead = "" if bundle.manifest.counters else ", or --through dense"
        raise WrongUse(
            f"k is {terms.k}, but a worker's list holds {MAX_LIST_SIZE} items at most: take a smaller k{instead}"
        )
    return way


def baseline_rows(training: Training, task: Task, terms: Terms) -> list[Row]:
    """Fit the baselines on training clicks and return their figures."""
    catalogue = task.catalogue
    clicks = catalogue.rows(training.clicks.frame.get_column("item_id"))
    sequences: Sequence[Rows] = to_sequences(training.clicks.frame, catalogue)
    rows = []
    for scorer in fit_baselines(clicks[clicks > 0], sequences, len(catalogue)):
        found = evaluate_dense(scorer, task.cases, len(catalogue), exclude=terms.counted.exclude, k=terms.k)
        rows.append(make_row(scorer.name, "dense", found, task, terms))
    return rows


def make_row(model: str, path: str, found: Evaluated, task: Task, terms: Terms) -> Row:
    """Count everything that a row of a report says of a model."""
    items = len(task.catalogue)
    lists = list_figures(found.top, terms.ks, items, task.clicks, task.vectors)
    groups = popularity_groups(task.cases.targets, task.clicks, terms.cold_below)
    return Row(
        model,
        path,
        {**summary(found.ranks, terms.ks), **lists},
        _intervals(found.ranks, case_ranks(task.held_out, task.cases, found.ranks).clusters(terms.over), terms),
        [group.figures(found.ranks, terms.k) for group in groups],
    )


def _intervals(ranks: Ranks, clusters: Ints, terms: Terms) -> dict[str, tuple[float, float]]:
    names = [(metric, k) for k in terms.ks for metric in INTERVAL_METRICS]
    columns = np.column_stack([gains(ranks, metric, k) for metric, k in names])
    found = intervals(columns, clusters, resamples=terms.resamples, seed=terms.seed)
    return {f"{metric}@{k}": (interval.low, interval.high) for (metric, k), interval in zip(names, found, strict=True)}
