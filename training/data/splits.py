"""Which clicks are held out, by the name of a protocol. The training side takes `Split.training` and nothing else.

| protocol | held out |
|---|---|
| `next-item` | the test file of a directory that has one, else the last tenth of the sessions |
| `next-item:0.2` | the last fifth of the sessions |
| `last-days:7` | sessions with a click in the last 7 x 24 hours of the log; `last-day` is `last-days:1` |
| `leave-one-out` | the last click of every session of at least 3; the one before is the validation click |

A session is held out whole or not at all (by its last click, so no training click is later than the cut), except
under `leave-one-out`, whose name says it. In every protocol all items after the first click are predicted from what
came before in their session, but under `leave-one-out` only the click that is held out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from serving.errors import WrongUse
from training.data.log import ClickLog
from training.data.sequences import session_numbers
from training.errors import DataError

DAY_MS = 24 * 3600 * 1000
DEFAULT_SHARE = 0.1

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Protocol:
    """A way to hold clicks out, as the table above names it."""

    name: str
    value: float | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value:g}"


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
class Training:
    """What training may see: clicks to learn from, and sessions to stop early by, from after (or apart from) them."""

    clicks: ClickLog
    validation: HeldOut


@dataclass(frozen=True)
class Split:
    """A log cut in two."""

    before: ClickLog
    held_out: HeldOut


def parse_protocol(text: str) -> Protocol:
    """Read a protocol's name with its value, such as `last-days:7`.

    Raises:
        WrongUse: there is no such protocol, or its value is out of range.

    """
    name, _, value = text.partition(":")
    if name == "last-day" and not value:
        return Protocol("last-days", 1.0)
    try:
        number = float(value) if value else None
    except ValueError:
        number = float("nan")
    if name == "leave-one-out" and number is None:
        return Protocol(name)
    if name == "next-item" and (number is None or 0 < number < 1):
        return Protocol(name, number)
    if name == "last-days" and number is not None and number > 0:
        return Protocol(name, number)
    raise WrongUse(
        f"there is no protocol {text!r}: name next-item, next-item:SHARE (between 0 and 1), last-day, last-days:N or "
        "leave-one-out"
    )


def split(log: ClickLog, protocol: Protocol) -> Split:
    """Hold clicks out of a log.

    Raises:
        DataError: nothing would be left on one of the two sides.

    """
    if protocol.name == "leave-one-out":
        parts = leave_one_out(log)
    elif protocol.name == "last-days":
        parts = last_days(log, protocol.value or 1.0)
    else:
        parts = last_share(log, DEFAULT_SHARE if protocol.value is None else protocol.value)
    if len(parts.before) == 0 or parts.held_out.cases == 0:
        raise DataError(
            f"{log.name} has {len(log)} clicks in {log.sessions} sessions: {protocol} leaves {len(parts.before)} to "
            f"learn from and {parts.held_out.cases} to predict; take more data or another protocol"
        )
    return parts


def last_days(log: ClickLog, days: float) -> Split:
    """Hold out the sessions with a click in the last `days` x 24 hours before the log's last click.

    A session that began before the cut and ended after it is held out: no training click is later than the cut.
    """
    times = log.frame.get_column("timestamp_ms")
    # Not the last row's time: where a session's order is that of the stream, the last click may have come late.
    cut = (int(times.to_numpy().max()) if len(times) else 0) - days * DAY_MS
    ends = log.frame.select(pl.col("timestamp_ms").max().over("session_id")).to_series()
    return _whole_sessions(log, (ends > cut).to_numpy())


def last_share(log: ClickLog, share: float) -> Split:
    """Hold out the `share` of the sessions that ended last, at least one."""
    session = session_numbers(log.frame)
    if len(session) == 0:
        return _whole_sessions(log, np.zeros(0, dtype=np.bool_))
    # The frame is in time order, so the place of a session's last click says when it ended, without ties.
    ends = np.zeros(session.max() + 1, dtype=np.int64)
    np.maximum.at(ends, session, np.arange(len(session)))
    held = max(1, round(share * len(ends)))
    latest = np.zeros(len(ends), dtype=np.bool_)
    latest[np.argsort(ends)[len(ends) - held :]] = True
    return _whole_sessions(log, latest[session])


def leave_one_out(log: ClickLog) -> Split:
    """Hold out the last click of every session of at least three clicks.

    The held-out log keeps those sessions' earlier clicks as the history to predict from. Kang and McAuley, SASRec, ICDM
    2018, https://arxiv.org/abs/1808.09781.
    """
    session = session_numbers(log.frame)
    place, length = _places(session)
    last = (place == length - 1) & (length >= 3)
    before = log.with_frame(log.frame.filter(pl.Series(~last)))
    history = length >= 3
    return Split(before, HeldOut(log.with_frame(log.frame.filter(pl.Series(history))), last[history]))


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
    keep = held_out.log.frame.get_column("item_id").is_in(known.implode()).to_numpy()
    return HeldOut(held_out.log.with_frame(held_out.log.frame.filter(pl.Series(keep))), held_out.targets[keep])


def _whole_sessions(log: ClickLog, held: Mask) -> Split:
    before, after = log.frame.filter(pl.Series(~held)), log.frame.filter(pl.Series(held))
    return Split(log.with_frame(before), whole(log.with_frame(after)))


def _places(session: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each click's place in its session, from 0, and its session's length."""
    lengths = np.bincount(session) if len(session) else np.zeros(0, dtype=np.int64)
    order = np.argsort(session, kind="stable")
    begins = np.cumsum(lengths) - lengths
    place = np.empty(len(session), dtype=np.int64)
    place[order] = np.arange(len(session)) - np.repeat(begins, lengths)
    return place, lengths[session]
