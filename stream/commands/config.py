"""The command `nextclick config`: what is set, and where each value came from."""

from typing import TYPE_CHECKING, Any

import typer

from serving.commands.options import JsonFile

if TYPE_CHECKING:
    from stream.settings import Loaded


def register(app: typer.Typer) -> None:
    """Add `config show` to `nextclick`."""
    config = typer.Typer(no_args_is_help=True, help="Show the settings and where they come from.")
    config.command()(show)
    app.add_typer(config, name="config")


def show(context: typer.Context, json: JsonFile = None) -> None:
    """Print every setting with its value and where the value came from; secrets are masked.

    A value comes from its default, the file named by --config, a variable NEXTCLICK_..., or the command line,
    the later before the earlier. docs/configuration.md explains each setting.

    Examples:
        nextclick config show
        nextclick config show --config shop.toml --json settings.json
        NEXTCLICK_TOPICS__PARTITIONS=8 nextclick config show

    """
    from serving.output import write_json
    from stream.settings import load_with_origins

    loaded = load_with_origins(context.obj.config)
    if json is not None:
        write_json({key: {"value": value, "from": loaded.origins[key]} for key, value in _shown(loaded).items()}, json)
        return
    _print_table(loaded)


def _shown(loaded: "Loaded") -> dict[str, Any]:
    """Return each setting's value as JSON can hold it, by dotted key."""
    values: dict[str, Any] = {}
    for group, settings in loaded.settings.model_dump(mode="json").items():
        values |= {f"{group}.{name}": value for name, value in settings.items()}
    return {key: values[key] for key in loaded.origins}


def _print_table(loaded: "Loaded") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False, header_style="bold")
    for key, value in _shown(loaded).items():
        table.add_row(key, "" if value is None else str(value), loaded.origins[key])
    Console(soft_wrap=True).print(table)
