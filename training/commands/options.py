"""Options that several commands share."""

from typing import Annotated

import typer

TimeUnit = Annotated[str, typer.Option(help="Unit of the log's times: auto, s, ms, us or ns.")]
MaxBadShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of rows that may be unreadable.")]
