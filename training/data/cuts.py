"""How a log is cut in two: pure functions, each a rule by which clicks are held out.

A session is held out whole or not at all, by its last click, so no training click is later than the test's begin;
`session_ratio` goes by the order of the sessions alone, as its source does. Two rules cut inside sessions and say so:
`leave_one_out`, and `from_time`, where a session that goes on over the cut is trained on up to the cut and tested from
it on, as a worker would have met it. Under every rule all held-out items after a session's first click are predicted
from what came before in their session, but under these two only the clicks that are held out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from training.data.log import ClickLog
from training.data.sequences import session_numbers

DAY_MS = 24 * 3600 * 1000

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """Clicks to replay, and which of them are to be predicted.

    `targets` is bool, one per click of `log`: True where the click counts, if it is not the first of its session.
    """

    log: ClickLog
    targets: Mask

    @property
    def cases(self) -> int:
        """The number of predictions."""
        return int((self.targets & ~first_clicks(self.log.frame)).sum())


@dataclass(frozen=True)
class Split:
    """A log cut in two.

    `begin_ms` is the time after which the held-out period begins, where the protocol cuts by periods.
    """

    before: ClickLog
    held_out: HeldOut
    begin_ms: float | None = None


def last_days(log: ClickLog, days: float, end_ms: float | None = None) -> Split:
    """Hold out the sessions with a click in the last `days` x 24 hours up to `end_ms`, or to the log's last click.

    A session that began before the cut and ended after it is held out: no training click is later than the cut.
    """
    times = log.frame.get_column("timestamp_ms")
    if end_ms is None:
        # Not the last row's: where a session's order is that of the stream, the last click may have come late.
        end_ms = int(times.to_numpy().max()) if len(times) else 0
    return period(log, end_ms - days * DAY_MS)


def period(log: ClickLog, begin_ms: float, end_ms: float = np.inf) -> Split:
    """Hold out the sessions whose last click is later than `begin_ms`, up to `end_ms`; later ones are left out."""
    ends = log.frame.select(pl.col("timestamp_ms").max().over("session_id")).to_series().to_numpy()
    held = (ends > begin_ms) & (ends <= end_ms)
    return Split(_part(log, ends <= begin_ms), whole(_part(log, held)), begin_ms)


def last_share(log: ClickLog, share: float) -> Split:
    """Hold out the `share` of the sessions that ended last, at least one."""
    session = session_numbers(log.frame)
    if len(session) == 0:
        return Split(log, whole(log))
    # The frame is in time order, so the place of a session's last click says when it ended, without ties.
    ends = np.zeros(session.max() + 1, dtype=np.int64)
    np.maximum.at(ends, session, np.arange(len(session)))
    held = max(1, round(share * len(ends)))
    latest = np.zeros(len(ends), dtype=np.bool_)
    latest[np.argsort(ends)[len(ends) - held :]] = True
    return _whole_sessions(log, latest[session])


def session_ratio(log: ClickLog, before: float, after: float) -> Split:
    """Hold out the sessions that begin last, `before` parts against `after`, cut down to a whole session.

    Sessions stand in the order of their first clicks, so a session of training may go on after one of the test began.
    """
    session = session_numbers(log.frame)
    border = int(log.sessions * before / (before + after))
    return _whole_sessions(log, session >= border)


def from_time(log: ClickLog, begin_ms: float) -> Split:
    """Hold out the clicks from `begin_ms` on, predicted from all that came before them in their sessions."""
    late = log.frame.get_column("timestamp_ms").to_numpy() >= begin_ms
    marked = log.frame.with_columns(pl.Series("late", late))
    going_on = marked.select(pl.col("late").any().over("session_id")).to_series().to_numpy()
    return Split(_part(log, ~late), HeldOut(_part(log, going_on), late[going_on]), begin_ms)


def leave_one_out(log: ClickLog, *, exact: bool = False) -> Split:
    """Hold out the last click of every session of at least three clicks; `exact` leaves sessions out of the test.

    The held-out log keeps those sessions' earlier clicks as the history to predict from. With `exact`, sessions with
    a time that is not exact are held out as the others are, but not tested: their last click may be another one.
    """
    session = session_numbers(log.frame)
    place, length = _places(session)
    last = (place == length - 1) & (length >= 3)
    tested = length >= 3
    if exact:
        tested &= ~log.frame.get_column("session_id").is_in(list(log.inexact)).to_numpy()
    return Split(_part(log, ~last), HeldOut(_part(log, tested), last[tested]))


def whole(log: ClickLog) -> HeldOut:
    """Hold out every click of a log that was given as the test (or validation) part."""
    return HeldOut(log, np.ones(len(log), dtype=np.bool_))


def first_clicks(frame: pl.DataFrame) -> Mask:
    """Return which clicks begin their session, bool, one per click."""
    return frame.get_column("session_id").is_first_distinct().to_numpy()


def without_unknown(held_out: HeldOut, known: pl.Series) -> HeldOut:
    """Leave out the clicks on items that training has not seen, as GRU4Rec's and SR-GNN's protocols do.

    Where they stay they are misses, as they are for a worker.
    """
    return _kept(held_out, held_out.log.frame.get_column("item_id").is_in(known.implode()).to_numpy())


def with_sessions(held_out: HeldOut, minimum: int) -> HeldOut:
    """Leave out the sessions of fewer than `minimum` clicks."""
    lengths = held_out.log.frame.select(pl.len().over("session_id")).to_series().to_numpy()
    return _kept(held_out, lengths >= minimum)


def _kept(held_out: HeldOut, keep: Mask) -> HeldOut:
    return HeldOut(_part(held_out.log, keep), held_out.targets[keep])


def _part(log: ClickLog, keep: Mask) -> ClickLog:
    return log.with_frame(log.frame.filter(pl.Series(keep)))


def _whole_sessions(log: ClickLog, held: Mask) -> Split:
    return Split(_part(log, ~held), whole(_part(log, held)))


def _places(session: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each click's place in its session, from 0, and its session's length."""
    lengths = np.bincount(session) if len(session) else np.zeros(0, dtype=np.int64)
    order = np.argsort(session, kind="stable")
    begins = np.cumsum(lengths) - lengths
    place = np.empty(len(session), dtype=np.int64)
    place[order] = np.arange(len(session)) - np.repeat(begins, lengths)
    return place, lengths[session]
