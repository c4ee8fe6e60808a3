"""Options that commands of all rooms share."""

from pathlib import Path
from typing import Annotated, Any

import typer


def output_file(help_text: str, option: str = "--json") -> Any:
    """Return the option `--json FILE`, which is refused before any work is done where FILE cannot be written."""
    return typer.Option(option, metavar="FILE", help=help_text, callback=_writable)


def _writable(path: Path | None) -> Path | None:
    if path is not None:
        from serving.output import check_writable

        check_writable(path)
    return path


JsonFile = Annotated[Path | None, output_file("Write it to FILE as JSON.")]
