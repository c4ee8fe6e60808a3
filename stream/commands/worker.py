"""The command `nextclick worker`."""

from pathlib import Path
from typing import Annotated

import typer

from stream.commands.options import Servers, settings_of


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(worker)


def worker(
    context: typer.Context,
    bundle: Annotated[Path | None, typer.Option(metavar="DIR", help="The bundle to serve from.")] = None,
    bootstrap_servers: Servers = None,
    metrics_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port for /metrics, /live and /ready; 0 takes any free one.")
    ] = None,
    app_id: Annotated[
        str | None, typer.Option(metavar="NAME", help="Consumer group that the workers of one service share.")
    ] = None,
) -> None:
    """Read clicks from Kafka, keep the sessions, and answer every click with a list.

    It prints one line when it is ready. SIGTERM or Ctrl-C lets it finish the batch in hand, commit and leave the
    group. Start it as often as there are partitions to share the work. Options stand before settings of the same
    meaning (docs/configuration.md): --bundle is worker.bundle, --bootstrap-servers kafka.bootstrap_servers,
    --metrics-port monitoring.port, --app-id worker.app_id.

    Examples:
        nextclick worker --bundle bundles/shop
        nextclick worker --bundle bundles/shop --bootstrap-servers kafka-1:9092,kafka-2:9092 --metrics-port 0

    """
    from stream.logs import log_to_stderr

    settings = settings_of(
        context, bootstrap_servers, worker={"bundle": bundle, "app_id": app_id}, monitoring={"port": metrics_port}
    )
    log_to_stderr(debug=context.obj.debug)
    from stream.worker import run_worker

    run_worker(settings)
