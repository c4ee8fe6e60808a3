"""Options that commands around Kafka share, and the settings that come of them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stream.settings import Settings

Servers = Annotated[str | None, typer.Option(metavar="HOST:PORT,...", help="Addresses of some of Kafka's brokers.")]


def settings_of(context: typer.Context, bootstrap_servers: str | None, **groups: dict[str, Any]) -> "Settings":
    """Return the settings of a command line: `--config`, `--bootstrap-servers`, and other options by group and name."""
    from stream.settings import load_settings

    options = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
    return load_settings(context.obj.config, {"kafka.bootstrap_servers": bootstrap_servers, **options})
