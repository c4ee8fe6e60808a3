"""The command `nextclick compare`: whether one bundle is better than another, or it was the sample."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import JsonFile
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


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle's directory.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another bundle's.")],
    data: Annotated[Path, typer.Option(metavar="PATH", help="The click log, or directory, that both were trained on.")],
    protocol: ProtocolName = None,
    metric: Annotated[str, typer.Option(help="recall, hr, ndcg, mrr, map, precision or f1, at a k.")] = "mrr@20",
    exclude: ExcludeItems = None,
    unknown: UnknownItems = None,
    min_session: MinSession = None,
    through: RankedThrough = Through.auto,
    over: ResampleOver = Over.sessions,
    resamples: Resamples = 1000,
    seed: BootstrapSeed = 0,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
    json: JsonFile = None,
) -> None:
    """Compare two bundles on the same held-out clicks: the difference of a metric, with its 95 % interval.

    A paired bootstrap that draws whole sessions (or users). A bundle that was trained on other clicks than the
    protocol leaves to training is refused.

    Example:
        nextclick compare build/new build/old --data shop.jsonl --metric mrr@20

    """
    from rich.console import Console

    from serving.bundle import load_bundle
    from serving.output import write_json
    from training.data.dataset import read_description
    from training.data.protocol import parse_protocol
    from training.data.readers import ReadOptions
    from training.evaluation.compare import compare_ranks, parse_metric, rank_cases
    from training.evaluation.table import comparison_json, print_comparison
    from training.evaluation.terms import Terms

    _, k = parse_metric(metric)
    bundles = load_bundle(a), load_bundle(b)
    terms = Terms(
        protocol=parse_protocol(protocol) if protocol else read_description(bundles[0].manifest.data)[0],
        exclude=value_of(exclude),
        unknown=value_of(unknown),
        min_session_length=min_session,
        ks=(k,),
        through=through.value,
        over=over.value,
        resamples=resamples,
        seed=seed,
    )
    options = ReadOptions(time_unit, max_bad_share)
    ranked = [rank_cases(bundle, data, terms, options) for bundle in bundles]
    found = compare_ranks(ranked[0], ranked[1], metric, over=terms.over, resamples=resamples, seed=seed)
    print_comparison(found, (str(a), str(b)), terms, Console())
    if json is not None:
        command = shlex.join(["nextclick", *sys.argv[1:]])
        write_json(comparison_json(found, (bundles[0].id, bundles[1].id), terms, command), json)


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(compare)
