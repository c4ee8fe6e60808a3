"""The command `nextclick topics`: make the topics of a service, show them, check them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.options import JsonFile
from stream.commands.options import Servers, settings_of

if TYPE_CHECKING:
    from stream.settings import Settings


def register(app: typer.Typer) -> None:
    """Add `topics create`, `topics describe` and `topics check` to `nextclick`."""
    topics = typer.Typer(no_args_is_help=True, help="Create, describe and check the Kafka topics of a service.")
    for command in (create, describe, check):
        topics.command()(command)
    app.add_typer(topics, name="topics")


def create(
    context: typer.Context,
    bootstrap_servers: Servers = None,
    partitions: Annotated[
        int | None, typer.Option(metavar="N", help="Partitions of clicks, recommendations, dead letters, sessions.")
    ] = None,
    replication_factor: Annotated[int | None, typer.Option(metavar="N", help="Copies of each partition.")] = None,
) -> None:
    """Create the topics that do not exist yet; existing ones stay as they are.

    Names, partitions and copies are settings (docs/configuration.md). It ends with an error when an existing topic is
    not as a worker needs it.

    Examples:
        nextclick topics create
        nextclick topics create --partitions 12 --replication-factor 3 --bootstrap-servers kafka-1:9092

    """
    from stream.contract.specs import topic_specs
    from stream.contract.topics import create_topics

    counts = {"partitions": partitions, "replication_factor": replication_factor}
    settings = settings_of(context, bootstrap_servers, topics=counts)
    created = create_topics(settings)
    for spec in topic_specs(settings):
        typer.echo(f"{'created' if spec.name in created else 'exists '}  {spec.name}")
    _fail_on_problems(settings)


def describe(context: typer.Context, bootstrap_servers: Servers = None, json: JsonFile = None) -> None:
    """Show the topics of the service: what is in them, and how the broker has made them.

    Examples:
        nextclick topics describe
        nextclick topics describe --json topics.json

    """
    from serving.output import write_json
    from stream.contract.specs import topic_specs
    from stream.contract.topics import describe_topics

    settings = settings_of(context, bootstrap_servers)
    found = describe_topics(settings)
    rows = [
        {
            "topic": spec.name,
            "setting": spec.setting,
            "key": spec.key,
            "value": spec.value,
            "exists": spec.name in found,
        }
        | (found[spec.name]._asdict() if spec.name in found else {})
        for spec in topic_specs(settings)
    ]
    if json is not None:
        write_json(rows, json)
        return
    _print_rows(rows)


def check(context: typer.Context, bootstrap_servers: Servers = None, json: JsonFile = None) -> None:
    """Check that the topics are as a worker needs them; the exit code is 1 when they are not.

    Examples:
        nextclick topics check
        nextclick topics check --json problems.json

    """
    settings = settings_of(context, bootstrap_servers)
    _fail_on_problems(settings, json)
    typer.echo(f"The topics at {settings.kafka.bootstrap_servers} are as they should be.")


def _fail_on_problems(settings: "Settings", json: Path | None = None) -> None:
    from serving.output import write_json
    from stream.contract.topics import check_topics
    from stream.errors import TopicError

    problems = check_topics(settings)
    if json is not None:
        write_json({"problems": problems}, json)
    if problems:
        raise TopicError("\n".join(problems))


def _print_rows(rows: list[dict[str, Any]]) -> None:
    lines = [("topic", "partitions", "copies", "policy", "key", "value")]
    for row in rows:
        policy = row["config"].get("cleanup.policy", "not told") if row["exists"] else ""
        counts = (str(row["partitions"]), str(row["replication_factor"])) if row["exists"] else ("missing", "")
        lines.append((row["topic"], *counts, policy, row["key"], row["value"]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
