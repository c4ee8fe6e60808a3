"""The command `nextclick evaluate`: a bundle's figures beside the baselines'."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import JsonFile, output_file
from training.commands.options import (
    BootstrapSeed,
    ExcludeItems,
    MaxBadShare,
    MinSession,
    Over,
    ProtocolName,
    RankedThrough,
    ResampleOver,
    Resamples,
    Through,
    TimeUnit,
    UnknownItems,
    value_of,
)


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's directory.")],
    data: Annotated[
        Path, typer.Option(metavar="PATH", help="The click log, or the directory, that it was trained on.")
    ],
    protocol: ProtocolName = None,
    exclude: ExcludeItems = None,
    unknown: UnknownItems = None,
    min_session: MinSession = None,
    k: Annotated[
        list[int] | None, typer.Option("--k", min=1, max=500, help="Where metrics are cut; repeatable; default: 20.")
    ] = None,
    through: RankedThrough = Through.auto,
    cold_below: Annotated[int, typer.Option(min=1, help="Items with fewer training clicks count as cold.")] = 5,
    over: ResampleOver = Over.sessions,
    resamples: Resamples = 1000,
    seed: BootstrapSeed = 0,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
    ranks: Annotated[
        Path | None, output_file("Write the bundle's rank of each case to FILE as Parquet.", option="--ranks")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Print a bundle's Recall, HR, NDCG, MRR, MAP, precision and F1 at k beside those of the baselines.

    Full catalogue, on clicks that training never saw, with intervals over whole sessions; below, how much of the
    catalogue the lists show, how evenly, how novel and how diverse. With the protocol next-item the figures are those
    that a worker would count live on the same clicks, but for ties, which count against the model.

    Examples:
        nextclick evaluate build/shop --data shop.jsonl --protocol next-item --json report.json
        nextclick evaluate build/shop --data shop.jsonl --k 10 --k 20 --ranks ranks.parquet

    """
    from rich.console import Console

    from serving.bundle import load_bundle
    from serving.output import write_json
    from training.data.dataset import read_description
    from training.data.protocol import parse_protocol
    from training.data.readers import ReadOptions
    from training.evaluation.protocols import evaluate as run
    from training.evaluation.table import print_report, to_json
    from training.evaluation.terms import Terms

    loaded = load_bundle(bundle)
    terms = Terms(
        protocol=parse_protocol(protocol) if protocol else read_description(loaded.manifest.data)[0],
        exclude=value_of(exclude),
        unknown=value_of(unknown),
        min_session_length=min_session,
        ks=tuple(dict.fromkeys(k or [20])),
        through=through.value,
        cold_below=cold_below,
        over=over.value,
        resamples=resamples,
        seed=seed,
    )
    command = shlex.join(["nextclick", *sys.argv[1:]])
    report = run(loaded, data, terms, options=ReadOptions(time_unit, max_bad_share), command=command)
    print_report(report, Console())
    if ranks is not None:
        report.ranks.write(ranks)
    if json is not None:
        write_json(to_json(report), json)


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(evaluate)
