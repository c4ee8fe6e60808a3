"""The command `nextclick generate`."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
