"""The command `nextclick train`: a recipe, a click log and a seed give a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import MaxBadShare, TimeUnit

# The names of training.recipes.RECIPES, which help shall show without loading torch.
RECIPE_NAMES = ("diginetica", "ml1m", "quick", "rsc15_100k", "serenade_sample")

_SHOWN = ("recall@", "mrr@", "ndcg@")


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=f"One of {', '.join(RECIPE_NAMES)}.")],
    data: Annotated[Path, typer.Option("--data", metavar="PATH", help="A click log, or a directory with its parts.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The bundle; it must not exist yet.")],
    seed: Annotated[int, typer.Option(help="The same seed, data and code give the same bundle.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value for a parameter; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside DIR.")] = False,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Shorten the training to what fits into this time.")
    ] = None,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
) -> None:
    """Train an encoder and write it as a bundle, which `nextclick worker` serves.

    Beside DIR it leaves the loss curve (DIR.curve.png) and a checkpoint (DIR.checkpoint). The test part of the data
    is never read; the figures printed are those of the validation part.

    Examples:
        nextclick train quick --data shop.jsonl --out bundles/shop
        nextclick train quick --data shop.jsonl --set model=lstm --set model.hidden=64 --out bundles/lstm

    """
    from rich.console import Console

    from training.data.dataset import read_training
    from training.data.readers import ReadOptions
    from training.data.splits import parse_protocol
    from training.progress import shown_progress
    from training.recipes import find_recipe, override
    from training.train import check_free, curve_of, train_bundle

    chosen = override(find_recipe(recipe), settings or [])
    check_free(out, resume)
    options = ReadOptions(time_unit, max_bad_share)
    training = read_training(data, parse_protocol(chosen.protocol), chosen.preparation, options)
    clicks = training.clicks
    console = Console(stderr=True)
    console.print(f"{clicks.name}: {len(clicks)} clicks, {clicks.sessions} sessions, {clicks.items} items")
    with shown_progress(console, chosen.loop.monitor) as report:
        trained = train_bundle(
            chosen, training, seed=seed, out=out, resume=resume, max_seconds=max_seconds, report=report
        )
    for what, figures in trained.bundle.manifest.metrics.items():
        typer.echo(
            f"{what}, {figures['cases']} clicks, {figures['exclude']} excluded: "
            + ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if name.startswith(_SHOWN))
            + (f" (epoch {figures['epoch']} of {figures['epochs']})" if "epoch" in figures else "")
        )
    curve = f", loss curve in {curve_of(out)}" if trained.progress is not None else ""
    typer.echo(f"bundle {trained.bundle.id} in {out}{curve}")


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(train)
