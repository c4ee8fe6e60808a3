"""Which column of a table is the session, the item, the time: by the names that public data sets use."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from training.errors import DataError

# Compared without case and punctuation: `SessionId`, `session_id` and `session-id` are one name.
_NAMES: dict[str, tuple[str, ...]] = {
    "session_id": ("sessionid", "session", "sid", "visitorid"),
    "item_id": ("itemid", "item", "movieid", "productid", "product", "articleid", "sku"),
    "time": ("timestampms", "timestamp", "time", "ts", "unixtimestamp", "eventtime", "datetime"),
    "event_type": ("eventtype", "event", "type", "action", "behavior"),
    "user_id": ("userid", "user", "customerid"),
    "exact": ("exact",),
}
_UNIT_IN_NAME = {"timestampms": "ms"}

EXPECTED = (
    "expected a column for the session (session_id, SessionId, user_id, ...), one for the item (item_id, ItemId, "
    "movie_id, ...) and one for the time (timestamp_ms, timestamp, Time, ...)"
)


class Columns(NamedTuple):
    """The table's own names for what a click needs; None where it has no such column."""

    session_id: str
    item_id: str
    time: str
    event_type: str | None
    user_id: str | None
    exact: str | None
    by_user: bool
    time_unit: str | None
    movies: bool


def find_columns(names: Sequence[str], path: Path) -> Columns:
    """Match a table's column names with ours.

    A table without a session column is cut by user: everything that one user did is one session.

    Raises:
        DataError: session, item or time cannot be found; the message lists the columns found.

    """
    found = {ours: _first(names, aliases) for ours, aliases in _NAMES.items()}
    user, item, time = found["user_id"], found["item_id"], found["time"]
    session = found["session_id"] or user
    if session is None or item is None or time is None:
        raise DataError(f"{path}: found the columns {', '.join(names)}; {EXPECTED}; rename them in the file")
    return Columns(
        session_id=session,
        item_id=item,
        time=time,
        event_type=found["event_type"],
        user_id=user,
        exact=found["exact"],
        by_user=found["session_id"] is None,
        time_unit=_UNIT_IN_NAME.get(_plain(time)),
        movies=_plain(item) == "movieid",
    )


def is_header(fields: Sequence[str]) -> bool:
    """Tell whether a file's first line names columns: at least an item column is among them."""
    return _first(fields, _NAMES["item_id"]) is not None


def _first(names: Sequence[str], aliases: tuple[str, ...]) -> str | None:
    by_plain = {_plain(name): name for name in reversed(names)}
    return next((by_plain[alias] for alias in aliases if alias in by_plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
