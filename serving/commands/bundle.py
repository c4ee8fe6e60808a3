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
    encoder, index = manifest.encoder, manifest.index
    typer.echo(f"bundle      {bundle_id(raw)}  (format {manifest.format})")
    typer.echo(f"encoder     {encoder.kind}, {encoder.dim} wide, reads the last {encoder.window} events")
    typer.echo(f"items       {manifest.item_count}")
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
