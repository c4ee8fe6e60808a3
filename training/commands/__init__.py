"""The commands of `training`, one file each; a module's top imports typer and the standard library only."""

import typer

from training.commands import compare, evaluate, generate, train, tune


def register(app: typer.Typer) -> None:
    """Add this room's commands to `nextclick`."""
    for module in (
        compare,
        evaluate,
        generate,
        train,
        tune,
    ):
        module.register(app)
