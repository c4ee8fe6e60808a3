"""The command `nextclick watch`."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
