"""The commands of `stream`, one file each; a module's top imports typer and the standard library only."""

import typer

from stream.commands import config, dead_letters, topics, worker


def register(app: typer.Typer) -> None:
    """Add this room's commands to `nextclick`."""
    for module in (
        config,
        dead_letters,
        topics,
        worker,
    ):
        module.register(app)
