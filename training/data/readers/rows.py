"""From what a layout found in a file to a click log: rows that are no clicks are counted, named, and limited."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from serving.events import MAX_ID_LENGTH, MAX_TIMESTAMP_MS, MAX_TYPE_LENGTH
from training.data.log import ClickLog, make_log
from training.data.readers.times import to_milliseconds
from training.errors import DataError

_log = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True)
class ReadOptions:
    """What a reader cannot know from the file alone."""

    time_unit: str = "auto"
    """`s`, `ms`, `us`, `ns`, or `auto`: by the column's name, else by magnitude."""

    max_bad_share: float = 0.01
    """The largest share of a file's rows that may be unreadable. They are left out and counted."""


@dataclass(frozen=True)
class RawClicks:
    """A file's rows before validation.

    `frame` has `line` (its number in the file, from 1) and the string columns `session_id` and `item_id`, `time` (any
    type; int64 milliseconds already where `timed` is false), and where known `event_type`, `user_id` and `exact` (`0`,
    `0.0` or `false` where the time is not). Nulls are allowed anywhere.
    """

    frame: pl.DataFrame
    timed: bool = True
    by_user: bool = False
    time_unit: str | None = None
    movies: bool = False
    """The item ids are MovieLens's own, so `movies.dat` has their titles; those of `ml-1m.txt` are not."""
    export: Mapping[str, Any] | None = None
    """Where `nextclick export` wrote the file: what it says of the topic. Sessions are in the order of the stream."""


def to_log(raw: RawClicks, path: Path, name: str, options: ReadOptions) -> ClickLog:
    """Turn raw rows into a log, leaving out those that are no clicks.

    Raises:
        DataError: there is no row at all, or more than `max_bad_share` of them are bad.

    """
    frame = raw.frame
    if frame.height == 0:
        raise DataError(f"{path} has no rows: expected at least one click")
    unit = options.time_unit if options.time_unit != "auto" else raw.time_unit or "auto"
    times = to_milliseconds(frame.get_column("time"), unit, path) if raw.timed else frame.get_column("time")
    frame = frame.with_columns(times.alias("timestamp_ms")).with_columns(_fault(frame.columns).alias("fault"))
    bad = frame.filter(pl.col("fault").is_not_null())
    _judge(bad, frame.height, path, options.max_bad_share)
    good = frame.filter(pl.col("fault").is_null())
    if "event_type" in good.columns:
        good = good.with_columns(pl.col("event_type").replace("", None).fill_null("view"))
    if "user_id" in good.columns:
        good = good.with_columns(pl.col("user_id").replace("", None))
    return make_log(
        good,
        name=name,
        timed=raw.timed,
        by_user=raw.by_user,
        bad_rows=bad.height,
        log_order=raw.export is not None,
        exports=() if raw.export is None else (raw.export,),
        inexact=_inexact_sessions(good),
    )


def _inexact_sessions(frame: pl.DataFrame) -> frozenset[str]:
    if "exact" not in frame.columns:
        return frozenset()
    inexact = frame.filter(pl.col("exact").str.to_lowercase().is_in(["0", "0.0", "false"]))
    return frozenset(inexact.get_column("session_id").to_list())


def _fault(columns: Sequence[str]) -> pl.Expr:
    """Say in a word what is wrong with a row, by the limits that a worker keeps too; null where nothing is."""
    time = pl.col("timestamp_ms")
    faults = {
        "no usable session id": _no_id("session_id"),
        "no usable item id": _no_id("item_id"),
        "no readable time": time.is_null(),
        "time out of range": (time < 0) | (time > MAX_TIMESTAMP_MS),
    }
    for column, limit in {"event_type": MAX_TYPE_LENGTH, "user_id": MAX_ID_LENGTH}.items():
        if column in columns:
            faults[f"{column} of more than {limit} characters"] = pl.col(column).str.len_chars() > limit
    return pl.coalesce(pl.when(wrong).then(pl.lit(fault)) for fault, wrong in faults.items())


def _no_id(column: str) -> pl.Expr:
    lengths = pl.col(column).str.len_chars()
    return pl.col(column).is_null() | (lengths == 0) | (lengths > MAX_ID_LENGTH)


def _judge(bad: pl.DataFrame, rows: int, path: Path, max_bad_share: float) -> None:
    if bad.height == 0:
        return
    first = ", ".join(f"line {line}: {fault}" for line, fault in bad.select("line", "fault").head(_SHOWN).rows())
    found = f"{path}: {bad.height} of {rows} rows are no clicks ({first}{', ...' if bad.height > _SHOWN else ''})"
    if bad.height > max_bad_share * rows:
        raise DataError(
            f"{found}, more than the {max_bad_share:.1%} allowed; repair the file, or allow more with --max-bad-share"
        )
    _log.warning("%s; they are left out", found)
