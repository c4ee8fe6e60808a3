"""The command `nextclick replay`."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
