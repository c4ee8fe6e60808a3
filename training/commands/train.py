"""The command `nextclick train`: a recipe, a click log and a seed give a bundle."""

from pathlib import Path
from typing import Annotated, Any

import typer

from training.commands.options import MaxBadShare, TimeUnit

# The names of training.recipes.RECIPES, which help shall show without loading torch.
RECIPE_NAMES = ("diginetica", "ml1m", "ml1m_time", "quick", "rsc15_100k", "serenade_sample", "vmis_knn")

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
    refit: Annotated[
        Path | None,
        typer.Option(
            "--refit", metavar="BUNDLE", help="Train on the validation part too, as long and blended as BUNDLE."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="BUNDLE", help="Start from BUNDLE's weights; items keep their rows."),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Shorten the training to what fits into this time.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Time between checkpoints; there is one after each epoch anyway.")
    ] = 10.0,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
) -> None:
    """Train an encoder and write it as a bundle, which `nextclick worker` serves.

    Beside DIR it leaves the loss curve (DIR.curve.png) and a checkpoint (DIR.checkpoint). The test part of the data
    is never read; the figures printed are those of the validation part.

    Examples:
        nextclick train quick --data shop.jsonl --out bundles/shop
        nextclick train quick --data shop.jsonl --set model=lstm --set model.hidden=64 --out bundles/lstm
        nextclick train quick --data shop.jsonl --refit bundles/shop --out bundles/refitted
        nextclick train quick --data newer.jsonl --from bundles/shop --out bundles/newer

    """
    from rich.console import Console

    from training.data.dataset import read_training
    from training.data.protocol import parse_protocol
    from training.data.readers import ReadOptions
    from training.parallel import started_by_torchrun
    from training.progress import shown_progress
    from training.recipes import find_recipe, override
    from training.refit import read_chosen, read_refit
    from training.train import check_free, curve_of, train_bundle
    from training.warm_start import read_start

    chosen = override(find_recipe(recipe), settings or [])
    options = ReadOptions(time_unit, max_bad_share)
    with started_by_torchrun() as group:
        if group.first:
            check_free(out, resume)
        validated = None if refit is None else read_chosen(refit, chosen)
        begin = None if start is None else read_start(start, chosen)
        if refit is None:
            training = read_training(data, parse_protocol(chosen.protocol), chosen.preparation, options)
        else:
            training = read_refit(refit, chosen, data, options)
        clicks = training.clicks
        console = Console(stderr=True, quiet=not group.first)
        console.print(f"{clicks.name}: {len(clicks)} clicks, {clicks.sessions} sessions, {clicks.items} items")
        with shown_progress(console, chosen.loop.monitor) as report:
            trained = train_bundle(
                chosen,
                training,
                seed=seed,
                out=out,
                resume=resume,
                refit=validated,
                start=begin,
                max_seconds=max_seconds,
                checkpoint_minutes=checkpoint_minutes,
                group=group,
                report=report,
            )
    if group.first:
        _tell(trained.bundle.manifest.metrics)
        curve = f", loss curve in {curve_of(out)}" if trained.progress is not None else ""
        typer.echo(f"bundle {trained.bundle.id} in {out}{curve}")


def _tell(metrics: dict[str, Any]) -> None:
    """Print the figures of a manifest that are validation's, or those of the bundle that a refit was chosen by."""
    by = metrics.get("chosen_by", {})
    whose = f" of bundle {by['bundle']}" if by else ""
    for what in ("validation", "blend"):
        figures = {**by, **metrics}.get(what)
        if figures is not None:
            typer.echo(
                f"{what}{whose}, {figures['cases']} clicks, {figures['exclude']} excluded: "
                + ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if name.startswith(_SHOWN))
                + (f" (epoch {figures['epoch']} of {figures['epochs']})" if "epoch" in figures else "")
            )


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(train)
