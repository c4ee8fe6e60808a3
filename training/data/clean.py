"""From raw clicks to the sessions that training reads: cut at gaps as a worker cuts them, then optional filters."""

import logging
import math
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from serving.errors import WrongUse
from serving.session import is_new_session, session_clock
from serving.settings import ServingSettings
from training.checks import above, at_least
from training.data.log import ClickLog, name_parts
from training.data.sequences import session_numbers

_log = logging.getLogger(__name__)

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Preparation:
    """How clicks become training sessions; goes into the manifest, and an evaluation repeats it.

    The filters look at training clicks only, never at the test split.
    """

    session_gap_s: float | Literal["auto"] | None = "auto"
    """A silence that ends a session, in seconds, above 0; None cuts nothing. `auto`: serving's default, but None for
    logs without times and for logs whose sessions are users' whole histories."""

    max_events_per_minute: int | None = None
    """Sessions with more events than this in any 60 seconds are left out: no person is so fast."""

    max_item_repeats: int | None = None
    """Sessions with more events than this on one item are left out."""

    max_item_run: int | None = None
    """Sessions with more events than this on one item, in a row, are left out."""

    drop_duplicates: bool = False
    """Drop a click that repeats another one's session, item, time and event type."""

    min_item_support: int = 1
    """Items with fewer training clicks are left out."""

    min_session_length: int = 1
    """Sessions with fewer clicks are left out."""

    iterative: bool = False
    """Repeat the two filters until neither finds anything, as GRU4Rec's preprocessing does."""

    def __post_init__(self) -> None:
        limits = {name: getattr(self, name) for name in _BOT_LIMITS}
        at_least(1, **{name: limit for name, limit in limits.items() if limit is not None})
        if self.session_gap_s is not None and self.session_gap_s != "auto":
            above(0, session_gap_s=self.session_gap_s)
            if math.isinf(self.session_gap_s):
                raise WrongUse("session_gap_s must be a finite number of seconds, not inf; none is what cuts nothing")

    def filters(self) -> dict[str, int]:
        """Return the limits under which clicks are left out, those that are set, by their names."""
        limits = {name: getattr(self, name) for name in (*_BOT_LIMITS, "min_item_support", "min_session_length")}
        return {name: limit for name, limit in limits.items() if limit != getattr(Preparation, name)}

    def gap_ms(self, log: ClickLog) -> float | None:
        """Return the gap that cuts this log, in milliseconds, or None.

        Raises:
            WrongUse: a gap is asked for, but the log has no times.

        """
        if self.session_gap_s == "auto":
            return ServingSettings().session_gap_s * 1000 if log.timed and not log.by_user else None
        if self.session_gap_s is None:
            return None
        if not log.timed:
            raise WrongUse(
                f"{log.name} has no times, so no session gap can cut it, not {self.session_gap_s:g} s: leave it out"
            )
        return self.session_gap_s * 1000


# What tells a program from a person, with the words that a report has for it.
_BOT_LIMITS = {
    "max_events_per_minute": "events in a minute",
    "max_item_repeats": "events on one item",
    "max_item_run": "events on one item in a row",
}


def sessionise(log: ClickLog, gap_ms: float | None) -> ClickLog:
    """Cut sessions at silences by serving's own rule.

    The second part of session `a` is called `a#2`, and so on; with more `#` in a log where a session has such a name.
    """
    if gap_ms is None or len(log) == 0:
        return log
    named = name_parts(log.frame, pl.Series("part", _parts(log.frame, gap_ms)), "#")
    inexact = named.filter(log.frame.get_column("session_id").is_in(list(log.inexact))).get_column("session_id")
    return replace(log.with_frame(named), inexact=frozenset(inexact))


def _parts(frame: pl.DataFrame, gap_ms: float) -> list[int]:
    """Return of each click which part of its session it is in, from 1."""
    session = session_numbers(frame)
    clocks: list[int | None] = [None] * (int(session.max()) + 1)
    begun = [1] * len(clocks)
    parts = []
    for number, timestamp_ms in zip(session.tolist(), frame.get_column("timestamp_ms").to_list(), strict=True):
        clock = clocks[number]
        if clock is None or is_new_session(clock, timestamp_ms, gap_ms):
            begun[number] += clock is not None
            clocks[number] = timestamp_ms
        else:
            clocks[number] = session_clock(clock, timestamp_ms, gap_ms)
        parts.append(begun[number])
    return parts


def without_bots(log: ClickLog, preparation: Preparation) -> ClickLog:
    """Leave out the sessions that a program seems to have made, by the limits that a preparation sets.

    How many they were is in the log returned, and so in the manifest, and is said in the process's log.

    Raises:
        WrongUse: a limit on events per minute for a log without times.

    """
    limits = [name for name in _BOT_LIMITS if getattr(preparation, name) is not None]
    if not limits:
        return log
    if preparation.max_events_per_minute is not None and not log.timed:
        raise WrongUse(f"{log.name} has no times, so it has no events per minute: leave max_events_per_minute out")
    wrong = pl.col("session_id").is_in(_bot_sessions(log.frame, preparation).implode())
    bots, kept = log.frame.filter(wrong), log.frame.filter(~wrong)
    if bots.height == 0:
        return log
    sessions = bots.get_column("session_id").n_unique()
    asked = " or ".join(f"{getattr(preparation, name)} {_BOT_LIMITS[name]}" for name in limits)
    _log.warning(
        "%s: %d sessions with %d clicks have more than %s; they are left out", log.name, sessions, bots.height, asked
    )
    return replace(log.with_frame(kept), bot_sessions=sessions, bot_clicks=bots.height)


def _bot_sessions(frame: pl.DataFrame, preparation: Preparation) -> pl.Series:
    """Return the ids of the sessions that break a limit."""
    most, repeats, run = (getattr(preparation, name) for name in _BOT_LIMITS)
    found = [frame.get_column("session_id").head(0)]
    if most is not None:
        # So many events before this one lies less than a minute.
        passed = pl.col("timestamp_ms") - pl.col("timestamp_ms").shift(most).over("session_id")
        found.append(_sessions(frame.sort("session_id", "timestamp_ms"), passed < MINUTE_MS))
    if repeats is not None:
        found.append(_sessions(frame, pl.len().over("session_id", "item_id") > repeats))
    if run is not None:
        runs = frame.with_columns(pl.col("item_id").rle_id().over("session_id").alias("run"))
        found.append(_sessions(runs, pl.len().over("session_id", "run") > run))
    return pl.concat(found).unique()


def _sessions(frame: pl.DataFrame, wrong: pl.Expr) -> pl.Series:
    return frame.filter(wrong).get_column("session_id")


def filter_clicks(log: ClickLog, preparation: Preparation) -> ClickLog:
    """Apply the filters that a preparation names to training clicks, in the order in which it lists them."""
    log = without_bots(log, preparation)
    frame = log.frame
    if preparation.drop_duplicates:
        frame = frame.unique(["session_id", "item_id", "timestamp_ms", "event_type"], keep="first", maintain_order=True)
    while True:
        kept = _at_least(frame, "item_id", preparation.min_item_support)
        kept = _at_least(kept, "session_id", preparation.min_session_length)
        if kept.height == frame.height or not preparation.iterative:
            return log.with_frame(kept)
        frame = kept


def prepare(log: ClickLog, preparation: Preparation) -> ClickLog:
    """Cut sessions at gaps, then filter: what a recipe does with its training clicks."""
    return filter_clicks(sessionise(log, preparation.gap_ms(log)), preparation)


def _at_least(frame: pl.DataFrame, column: str, count: int) -> pl.DataFrame:
    return frame if count <= 1 else frame.filter(pl.len().over(column) >= count)
