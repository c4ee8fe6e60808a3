"""The command `nextclick generate`: a click log with known structure."""

from pathlib import Path
from typing import Annotated

import typer


def generate(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write it: FILE.jsonl, FILE.csv or FILE.parquet.")
    ],
    sessions: Annotated[int, typer.Option(help="Sessions, of 7 clicks on average.")] = 15_000,
    items: Annotated[int, typer.Option(help="Items in the shop, at least 100.")] = 1_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same clicks.")] = 0,
) -> None:
    """Write a generated click log, and the items' titles beside it (FILE.titles.csv).

    Visitors walk from category to category with a hidden style in mind, so the whole session tells more than its last
    click: something for an encoder to learn, with a best possible hit rate that is known.

    Example:
        nextclick generate --sessions 15000 --items 1000 --seed 0 --out shop.jsonl

    """
    from training.data.generator import generate as make
    from training.data.writers import write_log

    log = make(sessions, items, seed)
    for path in write_log(log, out):
        typer.echo(f"wrote {path}")
    typer.echo(f"{len(log)} clicks in {log.sessions} sessions on {log.items} items, fingerprint {log.fingerprint[:16]}")


def register(app: typer.Typer) -> None:
    """Add the command to `nextclick`."""
    app.command()(generate)
