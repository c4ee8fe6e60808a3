"""The command `nextclick tune`: which values of a recipe's parameters are best on the validation part."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import MaxBadShare, TimeUnit
from training.commands.train import RECIPE_NAMES


def tune(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=f"One of {', '.join(RECIPE_NAMES)}.")],
    data: Annotated[Path, typer.Option("--data", metavar="PATH", help="A click log, or a directory with its parts.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the account of the search goes.")],
    trials: Annotated[int, typer.Option(metavar="N", help="Trials of the encoder, and as many of the counters.")] = 20,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="End after this time, whatever was tried by then.")
    ] = None,
    searched: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="KEY=SPEC",
            help="What to try for a parameter: 1e-3..1e-2:log, 0.1..0.5 or 64|100|128; repeatable.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One value for a parameter, not searched then; repeatable."),
    ] = None,
    monitor: Annotated[
        str | None,
        typer.Option(metavar="FIGURE", help="The figure that decides, such as mrr@20; default: the recipe's."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed, data and code give the same trials.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in DIR.")] = False,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
) -> None:
    """Search a recipe's space: which values train best, by the validation part. The test part is never read.

    The encoder is tuned first, then the counters and their blend with it. Trainings that are worse than others after
    as many epochs end early. DIR/trials.json holds all trials; the last line printed are the options of the best.

    Examples:
        nextclick tune quick --data shop.jsonl --trials 20 --max-seconds 1800 --out search
        nextclick tune quick --data shop.jsonl --search 'model=gru|core' --set model.dim=64 --out search

    """
    from rich.console import Console

    from training.data.dataset import read_training
    from training.data.protocol import parse_protocol
    from training.data.readers import ReadOptions
    from training.recipes import SPACES, find_recipe, override
    from training.tune import RECORD, Plan, build_space, check_out, monitored, read_record, search
    from training.tune.shown import options_line, print_record, shown_search

    found = find_recipe(recipe)
    options = [*(settings or [])]
    chosen = override(found, options)
    options += monitored(chosen, monitor)
    chosen = override(found, options)
    fixed = [option.partition("=")[0].strip() for option in options]
    space = build_space(chosen, SPACES[recipe], searched or [], fixed)
    plan = Plan(recipe=chosen, space=space, options=tuple(options), trials=trials, max_seconds=max_seconds, seed=seed)
    check_out(out, resume)
    training = read_training(
        data, parse_protocol(chosen.protocol), chosen.preparation, ReadOptions(time_unit, max_bad_share)
    )
    clicks = training.clicks
    console = Console(stderr=True)
    console.print(f"{clicks.name}: {len(clicks)} clicks, {clicks.sessions} sessions, {clicks.items} items")
    command = shlex.join(["nextclick", *sys.argv[1:]])
    try:
        with shown_search(console) as seen:
            record = search(plan, training, out, command=command, resume=resume, seen=seen)
    except KeyboardInterrupt:
        if (out / RECORD).exists():
            print_record(read_record(out), Console())
            typer.echo(f"interrupted: the same command with --resume goes on with the search in {out}", err=True)
        raise
    print_record(record, Console())
    for stage, count in plan.missing(record).items():
        goes_on = ": the same command with --resume goes on" if stage == plan.stages[-1] else ""
        typer.echo(f"the time was up with {count} trials of the {stage} left{goes_on}", err=True)
    typer.echo(f"the best of {len(record.trials)} trials, all of them in {out / RECORD}:")
    typer.echo(options_line(record))


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(tune)
