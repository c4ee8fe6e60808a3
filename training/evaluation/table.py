"""One report as a table for people and as JSON for machines."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from training.evaluation.protocols import Report, Terms

# Metric and heading: short enough for a terminal of 80 columns.
_METRICS = {
    "recall": "recall",
    "hr": "HR",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "precision": "prec.",
    "f1": "F1",
    "coverage": "cover.",
}


def print_report(report: Report, console: Console) -> None:
    """Print the figures, and under them what they depend on."""
    k = report.terms.k
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in _METRICS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ranks", no_wrap=True)
    for row in report.rows:
        table.add_row(row.model, *(f"{row.figures[f'{metric}@{k}']:.4f}" for metric in _METRICS), row.path)
    console.print(_title(report.terms), highlight=False)
    console.print(table)
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
        "protocol": str(report.terms.protocol),
        "exclude": report.terms.exclude,
        "k": report.terms.k,
        "unknown_items": report.terms.unknown,
    }
    return {
        **terms,
        "bundle": report.bundle,
        "seed": report.seed,
        "cases": report.cases,
        "sessions": report.sessions,
        "clicks": report.clicks,
        "unknown_targets": report.unknown_targets,
        "same_training": report.same_training,
        "trained_on": report.trained_on,
        "tested_on": report.tested_on,
        "preparation": asdict(report.preparation),
        "command": report.command,
        "rows": [
            {"model": row.model, "ranked_by": row.path, **terms, "cases": report.cases, **row.figures}
            for row in report.rows
        ],
    }


def _title(terms: Terms) -> str:
    unknown = "misses" if terms.unknown == "miss" else "dropped"
    return f"{terms.protocol} @{terms.k}: full catalogue, excluded: {terms.exclude}, unknown items: {unknown}"
