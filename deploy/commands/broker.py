"""The command `nextclick broker`: a Kafka broker on this machine, to try things on."""

from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """The brokers that can be started here."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(broker)


def broker(
    kind: Annotated[
        Kind, typer.Option(help="`embedded`: Tansu, in memory, starts at once. `kafka`: Apache Kafka, needs Java 17+.")
    ] = Kind.EMBEDDED,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")] = 9092,
) -> None:
    """Run a Kafka broker on this machine until Ctrl-C.

    It listens on 127.0.0.1 only, and what was sent to it is gone when it ends: it is for trying things, not for
    production. Apache Kafka is fetched with Maven the first time (44 MB, into ~/.cache/nextclick).

    Examples:
        nextclick broker
        nextclick broker --kind kafka --port 9093

    """
    import contextlib

    from deploy.local.process import ended_like_ctrl_c
    from deploy.local.start import local_broker

    with ended_like_ctrl_c(), contextlib.suppress(KeyboardInterrupt):
        typer.echo(f"Starting the {kind} broker ...")
        with local_broker(kind.value, port or None) as running:
            address = running.bootstrap_servers
            option = "" if address == "127.0.0.1:9092" else f" --bootstrap-servers {address}"
            typer.echo(f"{running.name} listens on {address}; its log is {running.log}")
            typer.echo("Ctrl-C ends it, and what it holds is gone then. In another terminal:")
            typer.echo(f"    nextclick topics create{option}")
            typer.echo(f"    nextclick worker --bundle DIR{option}")
            running.process.run_on()
    typer.echo("The broker has ended.")
