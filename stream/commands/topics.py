"""The command `nextclick topics`."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
