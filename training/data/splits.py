"""Clicks held out by a protocol's name (`training.data.protocol` lists them). Training takes `Split.before` only."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from serving.errors import WrongUse
from training.data.cuts import (
    DAY_MS,
    HeldOut,
    Split,
    from_time,
    last_days,
    last_share,
    leave_one_out,
    period,
    session_ratio,
)
from training.data.log import ClickLog
from training.data.protocol import Protocol
from training.errors import DataError

DEFAULT_SHARE = 0.1


@dataclass(frozen=True)
class Training:
    """What training may see: clicks to learn from, and sessions to stop early by, from after (or apart from) them."""

    clicks: ClickLog
    validation: HeldOut
    refit: bool = False
    """True where `clicks` are all before the test, and `validation` is empty."""

    @cached_property
    def validation_fingerprint(self) -> str | None:
        """The sha256 of the validation clicks and of which of them are predicted, 64 hex digits; None in a refit."""
        if self.refit:
            return None
        clicks, targets = self.validation.log.fingerprint, self.validation.targets
        return hashlib.sha256(bytes.fromhex(clicks) + np.packbits(targets).tobytes()).hexdigest()


def split(log: ClickLog, protocol: Protocol) -> Split:
    """Hold the test clicks of a protocol out of a log.

    Raises:
        DataError: nothing would be left on one of the two sides.
        WrongUse: the protocol is several trainings; take one of `protocol.cycles()`.

    """
    if protocol.many:
        raise WrongUse(
            f"{protocol} is {protocol.value:g} trainings and as many tests: name one of them, {protocol}/1 to "
            f"{protocol}/{protocol.value:g}"
        )
    return _checked(log, protocol, _CUTS[protocol.name](log, protocol))


def split_validation(before: ClickLog, protocol: Protocol, begin_ms: float | None = None) -> Split:
    """Hold the validation clicks out of what a protocol leaves to training.

    `begin_ms` is the test's (`Split.begin_ms`), so that a period for validation ends where the test's begins.

    Raises:
        DataError: nothing would be left on one of the two sides.

    """
    if protocol.name in ("last-days", "last-week"):
        parts = last_days(before, _days_of(protocol), begin_ms)
    elif protocol.name == "ratio":
        train, validation, _ = protocol.shares
        parts = session_ratio(before, train, validation)
    elif protocol.name == "time" and (protocol.value or 0) >= 1:
        parts = from_time(before, _time_of(before, 1 - DEFAULT_SHARE))
    elif protocol.cycle is not None:
        parts = last_share(before, DEFAULT_SHARE)
    else:
        parts = _CUTS[protocol.name](before, protocol)
    return _checked(before, protocol, parts)


def cycles(log: ClickLog, protocol: Protocol) -> Iterator[tuple[Protocol, Split]]:
    """Yield each cycle of a protocol that has several, oldest first, and its split; else the protocol and its split.

    No cycle's training has a click of its own test, and every test click of a cycle but the last is trained on next.
    """
    for one in protocol.cycles():
        yield one, split(log, one)


def _checked(log: ClickLog, protocol: Protocol, parts: Split) -> Split:
    if len(parts.before) == 0 or parts.held_out.cases == 0:
        raise DataError(
            f"{log.name} has {len(log)} clicks in {log.sessions} sessions: {protocol} leaves {len(parts.before)} to "
            f"learn from and {parts.held_out.cases} to predict; take more data or another protocol"
        )
    return parts


def _days_of(protocol: Protocol) -> float:
    return 7.0 if protocol.name in ("last-week", "ader") else 1.0 if protocol.value is None else protocol.value


def _time_of(log: ClickLog, share: float) -> float:
    """Return the time of the click that has `share` of the clicks before it."""
    times = log.frame.get_column("timestamp_ms")
    return float(times[int(share * len(times))]) if len(times) else 0.0


def _by_time(log: ClickLog, protocol: Protocol) -> Split:
    value = protocol.value or 0.0
    if value < 1:
        return from_time(log, _time_of(log, value))
    if not log.timed:
        raise WrongUse(f"{log.name} has no times, so {protocol} cannot cut it: name a share, as in time:0.9")
    return from_time(log, value)


def _by_ratio(log: ClickLog, protocol: Protocol) -> Split:
    train, validation, test = protocol.shares
    return session_ratio(log, train + validation, test)


def _by_share(log: ClickLog, protocol: Protocol) -> Split:
    return last_share(log, DEFAULT_SHARE if protocol.value is None else protocol.value)


def _cycle(log: ClickLog, protocol: Protocol) -> Split:
    """Return cycle t of N: periods are counted back from the log's last click."""
    days = 1.0 if protocol.name == "rolling-days" else 7.0
    times = log.frame.get_column("timestamp_ms")
    later = (protocol.value or 0) - (protocol.cycle or 0)
    end_ms = (int(times.to_numpy().max()) if len(times) else 0) - later * days * DAY_MS
    return period(log, end_ms - days * DAY_MS, end_ms)


_CUTS: dict[str, Callable[[ClickLog, Protocol], Split]] = {
    "next-item": _by_share,
    "last-days": lambda log, protocol: last_days(log, _days_of(protocol)),
    "last-week": lambda log, protocol: last_days(log, _days_of(protocol)),
    "ratio": _by_ratio,
    "time": _by_time,
    "leave-one-out": lambda log, _: leave_one_out(log),
    "leave-one-out-exact": lambda log, _: leave_one_out(log, exact=True),
    "rolling-days": _cycle,
    "ader": _cycle,
}
