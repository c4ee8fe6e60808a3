"""The command `nextclick dead-letters`."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
