"""The commands of `deploy`, one file each; a module's top imports typer and the standard library only."""

import typer

from deploy.commands import broker, demo, export, replay, watch


def register(app: typer.Typer) -> None:
    """Add this room's commands to `nextclick`."""
    for module in (
        broker,
        demo,
        export,
        replay,
        watch,
    ):
        module.register(app)
