"""The one command, `nextclick`: joins the commands of all rooms, and turns every failure into a sentence.

The rooms' command modules import only typer and the standard library at their tops and the rest when they run, so
`nextclick --help` answers at once and `nextclick worker` runs without torch.
"""

import inspect
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from typer.exceptions import Abort, TyperException

import deploy.commands
import serving.commands
import stream.commands
import training.commands
from serving.errors import NextclickError, WrongUse

# The panels of `nextclick --help` and their commands, in the order in which a newcomer meets them.
PANELS = {
    "Start here": ["demo"],
    "Run": ["broker", "topics", "worker", "dead-letters", "config"],
    "Try": ["replay", "watch"],
    "Train": ["generate", "export", "train", "tune", "evaluate", "compare", "bundle"],
}

# What is missing when an import fails, and the extra that brings it.
EXTRA_OF_MODULE = {
    "torch": "train",
    "polars": "train",
    "pyarrow": "train",
    "onnx": "train",
    "onnxscript": "train",
    "matplotlib": "train",
    "optuna": "train",
}


@dataclass
class GlobalOptions:
    """What stands before the command's name; commands find it as `context.obj`."""

    config: Path | None = None
    debug: bool = False


class Root(typer.core.TyperGroup):
    """The root command, whose help shows its commands in panels."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which help shows them; `ValueError` for a command that is in no panel."""
        order = [name for names in PANELS.values() for name in names]
        return sorted(self.commands, key=order.index)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the panels of the help."""
        listed = self.list_commands(ctx)
        width = max(map(len, listed))
        for title, names in PANELS.items():
            rows = [
                (name.ljust(width), self.commands[name].get_short_help_str(limit=200))
                for name in listed
                if name in names
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nextclick {version('nextclick')}")
        raise typer.Exit


def _root(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file (TOML); see `nextclick config show`.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj.config = config
    context.obj.debug = debug


HELP = """
A Kafka topic of clicks in, a Kafka topic of fresh recommendations out, within milliseconds.

New here? `nextclick demo` trains a model and shows it live; it needs nothing but this machine.
"""

EPILOG = """
Examples:
    nextclick demo                              the whole service on this machine, live
    nextclick broker                            a Kafka broker to try things on
    nextclick topics create                     its topics
    nextclick worker --bundle DIR               clicks in, recommendations out
    nextclick watch                             see them as they come

Every command has its own --help. The global options may stand before or after the command.
"""


def build_app() -> typer.Typer:
    """Return `nextclick` with the commands of every room."""
    # Plain help: rich's panels cost 0.2 s of the 0.3 s that `--help` may take (measured: 0.10 s without, 0.30 s with).
    app = typer.Typer(name="nextclick", cls=Root, add_completion=False, rich_markup_mode=None)
    app.callback(help=HELP, epilog=EPILOG)(_root)
    for room in (deploy.commands, stream.commands, training.commands, serving.commands):
        room.register(app)
    return app


def _prepare_help(command: Any) -> None:
    """Mark paragraphs with indented lines, so that help prints their lines as they stand."""
    # A group without a command is then a sentence like every other wrong use; the help is one option away.
    command.no_args_is_help = False
    for attribute in ("help", "epilog"):
        paragraphs = inspect.cleandoc(getattr(command, attribute) or "").split("\n\n")
        marked = ["\b\n" + text if "\n    " in text or text.startswith("    ") else text for text in paragraphs]
        setattr(command, attribute, "\n\n".join(marked))
    for child in getattr(command, "commands", {}).values():
        _prepare_help(child)


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0, 1 for a failure, 2 for a wrong use, 130 for Ctrl-C."""
    options = GlobalOptions(debug="--debug" in arguments)
    try:
        command = typer.main.get_command(app)
        _prepare_help(command)
        result = command.main(
            _hoisted(arguments) or ["--help"], prog_name="nextclick", standalone_mode=False, obj=options
        )
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, Abort):
        return 130
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        print(f"nextclick: {_sentence(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, (NextclickError, TyperException)) else 1


def _hoisted(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the global options first, where typer looks for them."""
    hoisted: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
        elif argument == "--config":
            if (value := next(waiting, None)) is None:
                raise WrongUse("--config needs the name of a settings file (TOML) after it")
            hoisted += [argument, value]
        elif argument == "--debug" or argument.startswith("--config="):
            hoisted.append(argument)
        else:
            rest.append(argument)
    return hoisted + rest


def _sentence(error: Exception) -> str:
    if isinstance(error, NextclickError):
        return str(error)
    if isinstance(error, TyperException):
        message = " ".join(error.format_message().split()).rstrip(".")
        context = getattr(error, "ctx", None)
        link = " See" if message.endswith("?") else "; see"
        return f"{message}{link} `{context.command_path if context else 'nextclick'} --help`"
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        module = error.name.partition(".")[0]
        if extra := EXTRA_OF_MODULE.get(module):
            return (
                f"this command needs {module}, which is not installed here; in a clone of nextclick run"
                f" `{sys.executable} -m pip install '.[{extra}]'`"
            )
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"the operating system refused: {error.strerror}{where}; with --debug the command shows where"
    found = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug in nextclick ({found}); run the same command again with --debug and report what it prints"


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(build_app(), sys.argv[1:]))
