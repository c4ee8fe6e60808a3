"""From raw clicks to the sessions that training reads: cut at gaps as a worker cuts them, then optional filters."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from serving.errors import WrongUse
from serving.session import is_new_session
from serving.settings import ServingSettings
from training.data.log import ClickLog
from training.data.sequences import session_numbers


@dataclass(frozen=True)
class Preparation:
    """How clicks become training sessions; goes into the manifest, and an evaluation repeats it.

    The filters look at training clicks only, never at the test split.
    """

    session_gap_s: float | Literal["auto"] | None = "auto"
    """A silence that ends a session, in seconds; None cuts nothing. `auto`: serving's default, but None for logs
    without times and for logs whose sessions are users' whole histories."""

    drop_duplicates: bool = False
    """Drop a click that repeats another one's session, item, time and event type."""

    min_item_support: int = 1
    """Items with fewer training clicks are left out."""

    min_session_length: int = 1
    """Sessions with fewer clicks are left out."""

    iterative: bool = False
    """Repeat the two filters until neither finds anything, as GRU4Rec's preprocessing does."""

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


def sessionise(log: ClickLog, gap_ms: float | None) -> ClickLog:
    """Cut sessions at silences by serving's own rule.

    The second part of session `a` is called `a#2`, and so on; with more `#` in a log where a session has such a name.
    """
    if gap_ms is None or len(log) == 0:
        return log
    session = session_numbers(log.frame)
    order = np.argsort(session, kind="stable")
    sorted_session = session[order]
    times = log.frame.get_column("timestamp_ms").to_numpy()[order]
    begins = np.r_[True, sorted_session[1:] != sorted_session[:-1]]
    silent = np.vectorize(is_new_session, otypes=[np.bool_])(times[:-1], times[1:], gap_ms)
    cuts = np.r_[False, silent] & ~begins
    # Cuts so far, less those before the session began.
    counted = np.cumsum(cuts)
    part = counted - counted[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    parts = np.empty(len(order), dtype=np.int64)
    parts[order] = part + 1
    named = _named(log.frame, pl.Series("part", parts))
    inexact = named.filter(log.frame.get_column("session_id").is_in(list(log.inexact))).get_column("session_id")
    return replace(log.with_frame(named), inexact=frozenset(inexact))


def _named(frame: pl.DataFrame, part: pl.Series, mark: str = "#") -> pl.DataFrame:
    """Give each part of a session a name of its own, by its number from 1."""
    sessions, later = frame.get_column("session_id"), part > 1
    names = frame.select(pl.format("{}{}{}", "session_id", pl.lit(mark), part)).to_series()
    if names.filter(later).is_in(sessions.unique().implode()).any():
        return _named(frame, part, mark + "#")
    return frame.with_columns(pl.when(later).then(names).otherwise(sessions).alias("session_id"))


def filter_clicks(log: ClickLog, preparation: Preparation) -> ClickLog:
    """Apply the filters that a preparation names to training clicks, in the order in which it lists them."""
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
