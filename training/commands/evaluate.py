"""The command `nextclick evaluate`: a bundle's figures beside the baselines'."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import JsonFile
from training.commands.options import MaxBadShare, TimeUnit


class Exclude(StrEnum):
    """What a list leaves out."""

    none = "none"
    current = "current"
    seen = "seen"


class Unknown(StrEnum):
    """What clicks on items unknown to training are."""

    miss = "miss"
    drop = "drop"


class Through(StrEnum):
    """Where a bundle's ranks come from."""

    auto = "auto"
    served = "served"
    dense = "dense"


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's directory.")],
    data: Annotated[
        Path, typer.Option(metavar="PATH", help="The click log, or the directory, that it was trained on.")
    ],
    protocol: Annotated[
        str | None,
        typer.Option(help="next-item[:SHARE], last-day, last-days:N or leave-one-out; default: the bundle's own."),
    ] = None,
    exclude: Annotated[Exclude, typer.Option(help="Which items no list may hold.")] = Exclude.current,
    k: Annotated[int, typer.Option("--k", min=1, max=500, help="Length of the lists.")] = 20,
    unknown: Annotated[
        Unknown, typer.Option(help="Clicks on items unknown to training: misses, as live, or dropped.")
    ] = Unknown.miss,
    through: Annotated[
        Through, typer.Option(help="Rank in the lists that a worker would show (served) or among all scores (dense).")
    ] = Through.auto,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
    json: JsonFile = None,
) -> None:
    """Print a bundle's Recall, HR, NDCG, MRR, precision, F1 and coverage at k beside those of the baselines.

    Full catalogue, on clicks that training never saw. With the protocol next-item the figures are those that a worker
    would count live on the same clicks.

    Example:
        nextclick evaluate build/shop --data shop.jsonl --protocol next-item --json report.json

    """
    from rich.console import Console

    from serving.bundle import load_bundle
    from serving.output import write_json
    from training.data.dataset import read_description
    from training.data.readers import ReadOptions
    from training.data.splits import parse_protocol
    from training.evaluation.protocols import Terms
    from training.evaluation.protocols import evaluate as run
    from training.evaluation.table import print_report, to_json

    loaded = load_bundle(bundle)
    chosen = parse_protocol(protocol) if protocol else read_description(loaded.manifest.data)[0]
    terms = Terms(protocol=chosen, exclude=exclude.value, k=k, unknown=unknown.value, through=through.value)
    report = run(
        loaded,
        data,
        terms,
        options=ReadOptions(time_unit, max_bad_share),
        command=shlex.join(["nextclick", *sys.argv[1:]]),
    )
    print_report(report, Console())
    if json is not None:
        write_json(to_json(report), json)


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(evaluate)
