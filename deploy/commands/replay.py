"""The command `nextclick replay`."""

from pathlib import Path
from typing import Annotated

import typer

from stream.commands.options import Servers, settings_of
from training.commands.options import MaxBadShare, TimeUnit


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(replay)


def replay(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="LOG", help="A click log: JSON lines, or any layout that `train` reads.")
    ],
    rate: Annotated[float, typer.Option(min=0, help="Clicks a second; 0 sends as fast as Kafka takes them.")] = 100.0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N clicks, by event time.")
    ] = None,
    time_unit: TimeUnit = "auto",
    max_bad_share: MaxBadShare = 0.01,
    bootstrap_servers: Servers = None,
) -> None:
    """Send a click log to the clicks topic, in the order of event time, keyed by session id.

    Every click is acknowledged by Kafka before the command ends. The same log gives the same event ids, so a second
    replay gives the same recommendations. JSON lines of whole events are sent as they are, and then every line must be
    one; the time unit and the share of unreadable rows are for other layouts.

    Examples:
        nextclick replay clicks.jsonl
        nextclick replay ratings.dat --rate 1000 --limit 50000

    """
    import time

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from deploy.local.process import ended_like_ctrl_c
    from deploy.replay import read_clicks, replay_clicks

    settings = settings_of(context, bootstrap_servers)
    clicks = read_clicks(path, time_unit, max_bad_share)[:limit]
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    began = time.monotonic()
    with (
        ended_like_ctrl_c(),
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("replay", total=len(clicks))
        sent = replay_clicks(
            clicks, settings.kafka, settings.topics.clicks, rate=rate, on_sent=lambda _: bar.advance(task)
        )
    seconds = time.monotonic() - began
    typer.echo(f"{sent} clicks sent to {settings.topics.clicks} and acknowledged in {seconds:.1f} s")
