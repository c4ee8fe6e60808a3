"""The command `nextclick export`."""

from pathlib import Path
from typing import Annotated

import typer

from stream.commands.options import Servers, settings_of


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(export)


def export(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The Parquet file; it must not exist yet.")],
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Begin at this broker's time, or at offsets: 0:1200,1:980."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="End before this broker's time, or before offsets.")
    ] = None,
    without_attributes: Annotated[
        bool, typer.Option("--without-attributes", help="Leave the items' attributes out; the catalogue is not read.")
    ] = False,
    bootstrap_servers: Servers = None,
) -> None:
    """Write the clicks topic to a Parquet file that `nextclick train --data FILE` reads.

    It reads what is there when it starts, outside any consumer group. What workers make dead letters of, duplicates
    within a session, and clicks of visitors without consent are counted and left out. Times are UTC unless they name a
    zone; a partition for which no offset is named is taken whole.

    Examples:
        nextclick export --out clicks.parquet
        nextclick export --since 2026-11-01 --until 2026-11-08T12:00:00Z --out week.parquet
        nextclick export --since 0:1200,1:980 --out rest.parquet

    """
    import time

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from deploy.export import export_clicks, parse_bound
    from deploy.local.process import ended_like_ctrl_c

    settings = settings_of(context, bootstrap_servers)
    begin = None if since is None else parse_bound(since, "--since")
    end = None if until is None else parse_bound(until, "--until")
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    began = time.monotonic()
    with (
        ended_like_ctrl_c(),
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("export", total=None)
        done = export_clicks(
            settings,
            out,
            since=begin,
            until=end,
            attributes=not without_attributes,
            report=lambda read, total: bar.update(task, completed=read, total=total),
        )
    typer.echo(f"{done.clicks} clicks of {settings.topics.clicks} in {out} after {time.monotonic() - began:.1f} s")
    for line in done.lines():
        typer.echo(f"  {line}")
