"""From a bundle and a data set to figures: hold out, fit the baselines, predict, count."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from serving.bundle import Bundle
from serving.catalogue import Catalogue
from serving.ranks import coverage, summary
from serving.settings import Exclude
from training.data.clean import Preparation
from training.data.dataset import read_description, read_test, read_training
from training.data.readers import ReadOptions
from training.data.sequences import Rows, to_sequences
from training.data.splits import HeldOut, Protocol, Training, without_unknown
from training.evaluation.cases import Cases, build_cases
from training.evaluation.dense import Evaluated, evaluate_dense
from training.evaluation.scorers import fit_baselines
from training.evaluation.served import BundleScorer, evaluate_served

Unknown = Literal["miss", "drop"]
Through = Literal["auto", "served", "dense"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a figure depends on beside model and data; every row of a report carries it."""

    protocol: Protocol
    exclude: Exclude = "current"
    k: int = 20
    unknown: Unknown = "miss"
    """Clicks on items that training has not seen are misses, as they are live, or dropped before anything else."""
    through: Through = "auto"
    """`served`: the lists of `serving.process`; `dense`: all scores, ties against the model. `auto` takes `served`
    but for leave-one-out, where most lists would not count."""

    @property
    def path(self) -> Literal["served", "dense"]:
        """The way that a bundle's figures go."""
        if self.through == "auto":
            return "dense" if self.protocol.name == "leave-one-out" else "served"
        return self.through


@dataclass(frozen=True)
class Row:
    """One model's figures."""

    model: str
    path: str
    figures: dict[str, float]


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
    """The bundle was trained on the very clicks that the baselines were fitted on."""
    command: str = ""
    preparation: Preparation = field(default_factory=Preparation)


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
    """
    preparation = preparation or read_description(bundle.manifest.data)[1]
    training = read_training(path, terms.protocol, preparation, options)
    held_out = read_test(path, terms.protocol, preparation, options)
    catalogue = bundle.catalogue
    if terms.unknown == "drop":
        held_out = without_unknown(held_out, pl.Series(catalogue.item_ids[1:]))
    cases = build_cases(held_out, catalogue)
    rows = [_bundle_row(bundle, held_out, cases, terms), *baseline_rows(training, cases, catalogue, terms)]
    return Report(
        terms=terms,
        cases=len(cases),
        sessions=held_out.log.sessions,
        clicks=len(held_out.log),
        unknown_targets=int((cases.targets == 0).sum()),
        rows=rows,
        bundle=bundle.id,
        seed=bundle.manifest.seed,
        trained_on=training.clicks.summary(),
        tested_on=held_out.log.summary(),
        same_training=bundle.manifest.data.get("fingerprint") == training.clicks.fingerprint,
        command=command,
        preparation=preparation,
    )


def baseline_rows(training: Training, cases: Cases, catalogue: Catalogue, terms: Terms) -> list[Row]:
    """Fit the baselines on training clicks and return their figures."""
    clicks = catalogue.rows(training.clicks.frame.get_column("item_id"))
    sequences: Sequence[Rows] = to_sequences(training.clicks.frame, catalogue)
    rows = []
    for scorer in fit_baselines(clicks[clicks > 0], sequences, len(catalogue)):
        found = evaluate_dense(scorer, cases, len(catalogue), exclude=terms.exclude, k=terms.k)
        rows.append(Row(scorer.name, "dense", figures(found, terms.k, len(catalogue))))
    return rows


def figures(found: Evaluated, k: int, item_count: int) -> dict[str, float]:
    """Return every metric at k by its name."""
    shown = ([row for row in line if row] for line in found.top.tolist())
    return {**summary(found.ranks, k), f"coverage@{k}": coverage(shown, k, item_count)}


def _bundle_row(bundle: Bundle, held_out: HeldOut, cases: Cases, terms: Terms) -> Row:
    if terms.path == "served":
        found = evaluate_served(bundle, cases, exclude=terms.exclude, k=terms.k)
    else:
        found = evaluate_dense(BundleScorer(bundle), cases, len(bundle.catalogue), exclude=terms.exclude, k=terms.k)
    return Row(bundle.manifest.model, terms.path, figures(found, terms.k, len(bundle.catalogue)))
