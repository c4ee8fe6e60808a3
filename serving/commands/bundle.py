"""The command `nextclick bundle`: look at a bundle, and check that it is whole."""

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import JsonFile

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A bundle: the directory that holds manifest.json.")]


def show(directory: Directory, json: JsonFile = None) -> None:
    """Print what a bundle says of itself: encoder, items, index, training, figures.

    Example:
        nextclick bundle show build/shop

    """
    import msgspec

    from serving.bundle.manifest import bundle_id
    from serving.bundle.read import read_manifest
    from serving.output import write_json

    manifest, raw = read_manifest(directory)
    if json is not None:
        write_json({"id": bundle_id(raw), "manifest": msgspec.to_builtins(manifest)}, json)
        return
    encoder, index, blend = manifest.encoder, manifest.index, manifest.blend
    typer.echo(f"bundle      {bundle_id(raw)}  (format {manifest.format})")
    if encoder is not None:
        typer.echo(f"encoder     {encoder.kind}, {encoder.dim} wide, reads the last {encoder.window} events")
    for counter in manifest.counters:
        chosen = ", ".join(f"{name} {value}" for name, value in counter.parameters.items())
        typer.echo(f"counter     {counter.kind}: {chosen}")
    if blend is not None:
        weights = ", ".join(f"{weight:g}" for weight in ([] if encoder is None else [blend.encoder]) + blend.counters)
        typer.echo(f"blend       weights {weights} over the {blend.candidates} best of each")
    if manifest.needs:
        typer.echo(f"needs       {', '.join(manifest.needs)}: no worker can serve it")
    typer.echo(f"items       {manifest.item_count}")
    if index is not None:
        typer.echo(f"index       {index.factory}, {index.metric}, recall@10 {index.recall_at_10:.4f}")
    typer.echo(f"recipe      {manifest.recipe.get('name', '?')}, seed {manifest.seed}, code {manifest.code_revision}")
    for title, values in (("data", manifest.data), ("metrics", manifest.metrics)):
        for name, value in values.items():
            typer.echo(f"{title:<11} {name}: {value}")
    for name, file in manifest.files.items():
        typer.echo(f"file        {name}  {file.bytes} bytes  sha256 {file.sha256[:16]}...")


def verify(directory: Directory) -> None:
    """Check every byte of a bundle and play its golden sessions, as a worker does before it serves.

    Example:
        nextclick bundle verify build/shop

    """
    from serving.bundle import load_bundle

    bundle = load_bundle(directory)
    typer.echo(f"{directory} is whole: bundle {bundle.id}, {len(bundle.catalogue)} items, golden sessions agree")


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    group = typer.Typer(help="Look at a bundle, or check that it is whole.", no_args_is_help=True)
    group.command()(show)
    group.command()(verify)
    app.add_typer(group, name="bundle")
