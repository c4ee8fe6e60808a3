"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated, Any

import typer

TimeUnit = Annotated[str, typer.Option(help="Unit of the log's times: auto, s, ms, us or ns.")]
MaxBadShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of rows that may be unreadable.")]

_PROTOCOL = (
    "next-item[:SHARE], last-day, last-days:N, last-week, ratio:8-1-1, time:SHARE, time:2020-06-24, leave-one-out, "
    "leave-one-out-exact, rolling-days:N/I or ader:N/I; default: the bundle's own."
)
ProtocolName = Annotated[str | None, typer.Option("--protocol", help=_PROTOCOL)]


class Exclude(StrEnum):
    """What a list leaves out."""

    none = "none"
    current = "current"
    seen = "seen"


class Unknown(StrEnum):
    """What clicks on items unknown to training are."""

    miss = "miss"
    drop = "drop"


class Through(StrEnum):
    """Where a bundle's ranks come from."""

    auto = "auto"
    served = "served"
    dense = "dense"


class Over(StrEnum):
    """What a bootstrap draws."""

    sessions = "sessions"
    users = "users"


ExcludeItems = Annotated[
    Exclude | None, typer.Option("--exclude", help="Which items no list may hold; default: as the protocol says.")
]
UnknownItems = Annotated[
    Unknown | None,
    typer.Option(
        "--unknown",
        help="Clicks on items unknown to training: misses, as live, or dropped; default: as the protocol says.",
    ),
]
MinSession = Annotated[
    int | None,
    typer.Option(
        "--min-session", metavar="N", min=1, help="Clicks of a test session at least; default: as the protocol says."
    ),
]
RankedThrough = Annotated[
    Through,
    typer.Option("--through", help="Rank in the lists that a worker would show (served) or among all scores (dense)."),
]
ResampleOver = Annotated[
    Over, typer.Option("--over", help="What the bootstrap draws for its intervals: whole sessions, or whole users.")
]
Resamples = Annotated[int, typer.Option("--resamples", min=1, help="Resamples of the bootstrap.")]
BootstrapSeed = Annotated[int, typer.Option("--seed", min=0, help="The bootstrap's seed.")]


def value_of(choice: StrEnum | None) -> Any:
    """Return a choice's value, None where nothing was chosen."""
    return None if choice is None else choice.value
