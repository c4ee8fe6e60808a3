"""One report, or one comparison, as tables for people and as JSON for machines."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from training.evaluation.compare import Comparison
from training.evaluation.groups import GROUP_METRICS
from training.evaluation.protocols import INTERVAL_METRICS, Report, Row
from training.evaluation.terms import Terms

# Metric and heading: short enough for a terminal of 80 columns.
_RANKED = {
    "recall": "recall",
    "hr": "HR",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "map": "MAP",
    "precision": "prec.",
    "f1": "F1",
}
_LISTED = {"coverage": "coverage", "gini": "Gini", "novelty": "novelty, bits", "diversity": "diversity"}


def print_report(report: Report, console: Console) -> None:
    """Print the figures, and under them what they depend on."""
    terms = report.terms
    for k in terms.ks:
        console.print(_title(terms, k), highlight=False)
        console.print(_table(report.rows, _RANKED, k, paths=True))
        console.print("The lists themselves:")
        console.print(_table(report.rows, _LISTED, k, paths=False))
    own = report.rows[0]
    bounds = {metric: own.intervals[f"{metric}@{terms.k}"] for metric in INTERVAL_METRICS}
    between = (f"{metric} {low:.4f}-{high:.4f}" for metric, (low, high) in bounds.items())
    console.print(f"{own.model} @{terms.k}, 95 % intervals over {terms.over}: {', '.join(between)}", highlight=False)
    console.print(_cold_line(own, terms), highlight=False)
    console.print(
        f"{report.cases} predictions in {report.sessions} sessions, {report.unknown_targets} of unknown items; "
        f"bundle {report.bundle}, seed {report.seed}",
        highlight=False,
    )
    if not report.same_training:
        console.print(
            "Note: the bundle was trained on other clicks than the baselines were fitted on here; if these include the "
            "held-out clicks, its figures mean nothing. Give evaluate the data and the protocol of the training.",
            highlight=False,
        )


def to_json(report: Report) -> dict[str, Any]:
    """Return the report as plain values; every row carries all that it depends on."""
    terms = {
        **report.terms.describe(),
        "cases": report.cases,
        "sessions": report.sessions,
        "seeds": [report.seed],
        "bundle": report.bundle,
        "trained_on_fingerprint": report.trained_on["fingerprint"],
        "tested_on_fingerprint": report.tested_on["fingerprint"],
        "command": report.command,
    }
    return {
        **terms,
        "seed": report.seed,
        "clicks": report.clicks,
        "unknown_targets": report.unknown_targets,
        "same_training": report.same_training,
        "refit": report.refit,
        "trained_on": report.trained_on,
        "tested_on": report.tested_on,
        "preparation": asdict(report.preparation),
        "cold_below": report.terms.cold_below,
        "bootstrap": _bootstrap(report.terms.over, report.terms.resamples, report.terms.seed),
        "rows": [_row(row, terms) for row in report.rows],
    }


def print_comparison(comparison: Comparison, names: tuple[str, str], terms: Terms, console: Console) -> None:
    """Print both figures, the difference with its interval, and how often it is above 0."""
    found = comparison.found
    width = max(map(len, names))
    console.print(_title(terms, terms.k), highlight=False)
    for name, value in zip(names, (found.a, found.b), strict=True):
        console.print(f"{name:<{width}}  {comparison.metric} {value:.4f}", highlight=False)
    interval = found.difference
    console.print(
        f"difference {interval.value:+.4f}, 95 % between {interval.low:+.4f} and {interval.high:+.4f}, "
        f"above 0 in {found.above:.1%} of {comparison.resamples} resamples",
        highlight=False,
    )
    console.print(
        f"{comparison.cases} predictions of {comparison.clusters} {comparison.over}, which the resamples draw whole "
        f"(seed {comparison.seed})",
        highlight=False,
    )


def comparison_json(comparison: Comparison, bundles: tuple[str, str], terms: Terms, command: str) -> dict[str, Any]:
    """Return the comparison as plain values."""
    found = comparison.found
    return {
        **terms.describe(),
        "metric": comparison.metric,
        "a": {"bundle": bundles[0], "value": found.a},
        "b": {"bundle": bundles[1], "value": found.b},
        "difference": asdict(found.difference),
        "share_above_0": found.above,
        "cases": comparison.cases,
        "clusters": comparison.clusters,
        "bootstrap": _bootstrap(comparison.over, comparison.resamples, comparison.seed),
        "command": command,
    }


def _row(row: Row, terms: dict[str, Any]) -> dict[str, Any]:
    intervals = {name: list(bounds) for name, bounds in row.intervals.items()}
    return {
        "model": row.model,
        "ranked_by": row.path,
        **terms,
        **row.figures,
        "intervals_95": intervals,
        "groups": row.groups,
    }


def _bootstrap(over: str, resamples: int, seed: int) -> dict[str, Any]:
    return {"over": over, "resamples": resamples, "seed": seed}


def _table(rows: list[Row], metrics: dict[str, str], k: int, *, paths: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("model")
    shown = {name: heading for name, heading in metrics.items() if f"{name}@{k}" in rows[0].figures}
    for heading in shown.values():
        table.add_column(heading, justify="right", no_wrap=True)
    if paths:
        table.add_column("ranks", no_wrap=True)
    for row in rows:
        figures = [_digits(row.figures[f"{name}@{k}"]) for name in shown]
        # The name of a blend may need a second line.
        table.add_row(row.model.replace("+", " + "), *figures, *([row.path] if paths else []))
    return table


def _cold_line(row: Row, terms: Terms) -> str:
    cold = row.groups[-1]
    figures = ", ".join(f"{metric} {cold[f'{metric}@{terms.k}']:.4f}" for metric in GROUP_METRICS)
    return f"{row.model} on items of fewer than {terms.cold_below} training clicks, {cold['cases']} cases: {figures}"


def _title(terms: Terms, k: int) -> str:
    counted = terms.counted
    unknown = "misses" if counted.unknown == "miss" else "dropped"
    return f"{terms.protocol} @{k}: full catalogue, excluded: {counted.exclude}, unknown items: {unknown}"


def _digits(value: float) -> str:
    return f"{value:.4f}"
