"""The command `nextclick watch`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import output_file
from stream.commands.options import Servers, settings_of


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(watch)


def watch(
    context: typer.Context,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only this session's lists.")] = None,
    bundle: Annotated[Path | None, typer.Option(metavar="DIR", help="A bundle that knows the items' titles.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Show the lists that are there first.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after N lists.")] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="Show the first K items of each list.")] = 5,
    json: Annotated[Path | None, output_file("Write the lists to FILE too, as they are, one a line.")] = None,
    bootstrap_servers: Servers = None,
) -> None:
    """Show recommendations as they come, until Ctrl-C.

    It reads the topic outside any consumer group, so it takes nothing away from anybody.

    Examples:
        nextclick watch --bundle bundles/shop
        nextclick watch --session 42 --from-beginning --limit 10 --json lists.jsonl

    """
    import contextlib

    from deploy.local.process import ended_like_ctrl_c
    from deploy.watch import as_line, watch_lists

    settings = settings_of(context, bootstrap_servers)
    title_of = _titles(bundle)
    with ended_like_ctrl_c(), contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        file = stack.enter_context(json.open("wb")) if json else None
        topic = settings.topics.recommendations
        lists = watch_lists(settings.kafka, topic, session=session, from_beginning=from_beginning, limit=limit)
        for found in stack.enter_context(contextlib.closing(lists)):
            typer.echo(as_line(found, title_of, top))
            if file is not None:
                file.write(found.value + b"\n")
                file.flush()


def _titles(bundle: Path | None) -> Callable[[str], str]:
    if bundle is None:
        return str
    from serving.bundle import load_bundle

    return load_bundle(bundle).catalogue.title
