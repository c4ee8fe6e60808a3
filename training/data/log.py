"""The click log: every reader ends in one, everything in training starts from one."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from serving.events import Click

SCHEMA: dict[str, type[pl.DataType]] = {
    "session_id": pl.String,
    "item_id": pl.String,
    "timestamp_ms": pl.Int64,
    "event_type": pl.String,
    "user_id": pl.String,
}
"""Columns of a log's frame, in order. Only `user_id` may be null."""

_NULL_LENGTH = 2**32 - 1


@dataclass(frozen=True)
class ClickLog:
    """Clicks in the order of their time, as `make_log` builds them.

    `frame` has the columns of `SCHEMA` and is sorted stably by `timestamp_ms`: clicks of the same millisecond stay in
    the order of the file. MovieLens has half of its neighbouring pairs in one second, so that order carries signal.
    With `log_order` a click that came late stands where it came in its session, and only there is a time smaller than
    the one before it.
    """

    frame: pl.DataFrame
    titles: Mapping[str, str] | None = field(default=None, repr=False)
    name: str = "clicks"
    timed: bool = True
    """False where the file has no times: `timestamp_ms` then only says the order, and no gap may cut a session."""

    by_user: bool = False
    """True where a session is all that one user ever did (MovieLens): no gap cuts it unless one is asked for."""

    bad_rows: int = 0
    """Rows of the file that could not be read and were left out."""

    log_order: bool = False
    """True where a session's clicks stand in the order in which the stream got them, which is the order of its lists
    and of its states: the stream never sorts by event time."""

    exports: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """What was exported from Kafka to give these clicks: of each export the topic, the cluster and the offsets."""

    bot_sessions: int = 0
    bot_clicks: int = 0
    """Sessions, and the clicks in them, that were left out because a program seems to have made them."""
    inexact: frozenset[str] = field(default=frozenset(), repr=False)
    """The sessions with a time that the file itself calls inexact; protocols that need times do not test them."""

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the clicks, 64 hex digits: equal for the same clicks in the same order, from whatever file."""
        digest = hashlib.sha256(b"nextclick click log 1")
        for name in SCHEMA:
            _add_column(digest, self.frame.get_column(name))
        return digest.hexdigest()

    @property
    def sessions(self) -> int:
        """The number of distinct session ids."""
        return self.frame.get_column("session_id").n_unique()

    @property
    def items(self) -> int:
        """The number of distinct item ids."""
        return self.frame.get_column("item_id").n_unique()

    def __len__(self) -> int:
        return self.frame.height

    def with_frame(self, frame: pl.DataFrame) -> "ClickLog":
        """Return the same log with a part of its clicks, or with its sessions named anew; their order stays."""
        return replace(self, frame=frame.select(*SCHEMA))

    def clicks(self) -> Iterator[Click]:
        """Yield the clicks as events, in the log's order.

        Event ids are made from the fingerprint and the position, so a replay of the same log sends the same events.
        """
        prefix = self.fingerprint[:12]
        rows = self.frame.select(*SCHEMA).iter_rows()
        for position, (session_id, item_id, timestamp_ms, event_type, user_id) in enumerate(rows):
            yield Click(
                event_id=f"{prefix}-{position}",
                session_id=session_id,
                item_id=item_id,
                timestamp_ms=timestamp_ms,
                event_type=event_type,
                user_id=user_id,
            )

    def summary(self) -> dict[str, Any]:
        """Return what a manifest says about the data it was trained on.

        `exports` is in it only for clicks that were exported from Kafka, `bots` only where a filter looked for them and
        found some.
        """
        times = self.frame.get_column("timestamp_ms")
        first, last = (times.min(), times.max()) if len(self) else (0, 0)
        found: dict[str, Any] = {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "rows": len(self),
            "sessions": self.sessions,
            "items": self.items,
            "first_timestamp_ms": first,
            "last_timestamp_ms": last,
        }
        if self.exports:
            found["exports"] = [dict(export) for export in self.exports]
        if self.bot_sessions:
            found["bots"] = {"sessions": self.bot_sessions, "clicks": self.bot_clicks}
        return found


def make_log(
    frame: pl.DataFrame,
    *,
    titles: Mapping[str, str] | None = None,
    name: str = "clicks",
    timed: bool = True,
    by_user: bool = False,
    bad_rows: int = 0,
    log_order: bool = False,
    exports: Sequence[Mapping[str, Any]] = (),
    inexact: frozenset[str] = frozenset(),
) -> ClickLog:
    """Build a log from clicks in file order.

    `session_id`, `item_id` and `timestamp_ms` (UTC epoch milliseconds) must be there; `event_type` is `view` and
    `user_id` null where the frame has none. Other columns are dropped. With `log_order` the clicks of each session stay
    in the order of the file, whatever their times.
    """
    return ClickLog(
        _ordered(frame, log_order), titles, name, timed, by_user, bad_rows, log_order, exports, inexact=inexact
    )


def _ordered(frame: pl.DataFrame, log_order: bool) -> pl.DataFrame:
    if "event_type" not in frame.columns:
        frame = frame.with_columns(pl.lit("view").alias("event_type"))
    if "user_id" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("user_id"))
    columns = [pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()]
    time = pl.col("timestamp_ms")
    # A late click counts as old as the newest before it in its session: then a stable sort leaves it where it is.
    return frame.select(columns).sort(time.cum_max().over("session_id") if log_order else time, maintain_order=True)


def name_parts(frame: pl.DataFrame, part: pl.Series, mark: str) -> pl.DataFrame:
    """Give each part of a session a name of its own, by its number from 1: the second of `a` is `a`, `mark`, 2.

    The mark is repeated where a session has such a name already.
    """
    sessions, later = frame.get_column("session_id"), part > 1
    names = frame.select(pl.format("{}{}{}", "session_id", pl.lit(mark), part)).to_series()
    if names.filter(later).is_in(sessions.unique().implode()).any():
        return name_parts(frame, part, mark + mark[0])
    return frame.with_columns(pl.when(later).then(names).otherwise(sessions).alias("session_id"))


def _add_column(digest: "hashlib._Hash", column: pl.Series) -> None:
    """Hash a column's values, not polars' memory layout, which may change between its versions."""
    if column.dtype == pl.Int64:
        digest.update(column.to_numpy().astype("<i8").tobytes())
        return
    # Lengths first: without them ("ab", "c") and ("a", "bc") would be the same log.
    lengths = column.str.len_bytes().fill_null(_NULL_LENGTH).to_numpy().astype(np.dtype("<u4"))
    digest.update(lengths.tobytes())
    digest.update("".join(column.drop_nulls().to_list()).encode())
