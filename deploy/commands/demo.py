"""The command `nextclick demo`: the whole service on this machine, live."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DemoBroker(StrEnum):
    """The brokers that the demo can start."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


def demo(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A click log, file or directory; without it a shop is generated."),
    ] = None,
    time_unit: Annotated[str, typer.Option(help="Unit of the log's times: auto, s, ms, us or ns.")] = "auto",
    max_bad_share: Annotated[
        float, typer.Option(min=0, max=1, help="Rows of the log that may be unreadable, as a share of all.")
    ] = 0.01,
    recipe: Annotated[str, typer.Option(help="What to train.")] = "quick",
    training_seconds: Annotated[
        float, typer.Option(min=5, help="Shorten the training to what fits into this time.")
    ] = 85.0,
    rate: Annotated[float, typer.Option(min=1, help="Clicks a second in the replay.")] = 250.0,
    events: Annotated[int, typer.Option(min=1, help="Clicks to replay at most.")] = 8_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same shop and the same training.")] = 0,
    broker: Annotated[
        DemoBroker, typer.Option(help="`embedded`: Tansu, in memory. `kafka`: Apache Kafka, needs Java 17+.")
    ] = DemoBroker.EMBEDDED,
    bootstrap_servers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Use this broker; the demo's topics are deleted at the end.")
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="No live screen; plain lines.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures to FILE as JSON.")] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Leave bundle, clicks.jsonl and recommendations.jsonl in DIR.")
    ] = None,
) -> None:
    """Run the whole service on this machine: broker, training, worker, replay, live figures.

    It takes about two minutes, needs no network, and leaves nothing behind; Ctrl-C ends it at any time.

    Examples:
        nextclick demo
        nextclick demo --data ml-1m/ratings.dat --rate 500
        nextclick demo --headless --events 1000 --report report.json --keep kept
        nextclick demo --broker kafka

    """
    from rich.console import Console

    from deploy.demo.run import DemoOptions, run_demo
    from deploy.local.process import ended_like_ctrl_c

    options = DemoOptions(
        data=data,
        time_unit=time_unit,
        max_bad_share=max_bad_share,
        recipe=recipe,
        training_seconds=training_seconds,
        rate=rate,
        events=events,
        seed=seed,
        broker=broker.value,
        bootstrap_servers=bootstrap_servers,
        report=report,
        keep=keep,
        config=context.obj.config,
    )
    with ended_like_ctrl_c():
        run_demo(options, Console(force_terminal=False if headless else None))


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(demo)
