"""The commands of `serving`, one file each; a module's top imports typer and the standard library only."""

import typer

from serving.commands import bundle


def register(app: typer.Typer) -> None:
    """Add this room's commands to `nextclick`."""
    for module in (bundle,):
        module.register(app)
