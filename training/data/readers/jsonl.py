"""JSON lines of clicks: our own events, or objects with other names for the same fields."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from training.data.readers.columns import Columns, find_columns
from training.data.readers.rows import RawClicks
from training.data.readers.text import read_lines
from training.errors import DataError

_FIELDS = ("session_id", "item_id", "time", "event_type", "user_id", "exact")
_LATER = ("event_type", "user_id", "exact")
_PROBE = 100


def read_jsonl(path: Path) -> RawClicks:
    """Read one JSON object per line; what is no object, or lacks a field, is malformed.

    Raises:
        DataError: none of the objects has a session, an item and a time.

    """
    lines = read_lines(path)
    objects = [_object(text) for text in lines.get_column("text").to_list()]
    columns = _find_columns(objects, path)
    theirs = {ours: getattr(columns, ours) for ours in _FIELDS}
    data = {
        ours: [_text(thing.get(name), words=ours == "exact") for thing in objects]
        for ours, name in theirs.items()
        if name is not None
    }
    frame = pl.DataFrame(data, schema=dict.fromkeys(data, pl.String)).with_columns(lines.get_column("line"))
    return RawClicks(frame, by_user=columns.by_user, time_unit=columns.time_unit, movies=columns.movies)


def _find_columns(objects: Sequence[dict[str, Any]], path: Path) -> Columns:
    """Match the names of the first lines; where these have none, a field that a producer began to send later."""
    names = list(dict.fromkeys(chain.from_iterable(objects)))
    if not names:
        raise DataError(f"{path}: none of its {len(objects)} lines is a JSON object with fields")
    found = find_columns(names, path)
    try:
        first = find_columns(list(dict.fromkeys(chain.from_iterable(objects[:_PROBE]))), path)
    except DataError:
        return found
    return first._replace(**{ours: getattr(first, ours) or getattr(found, ours) for ours in _LATER})


def _object(text: str) -> dict[str, Any]:
    try:
        thing = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return thing if isinstance(thing, dict) else {}


def _text(value: Any, *, words: bool) -> str | None:
    """Return a value as text; true and false are words only where they are asked for, and no id or time."""
    if isinstance(value, bool) and not words:
        return None
    return str(value) if isinstance(value, str | int | float) else None
