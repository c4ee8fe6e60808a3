"""The protocols by name, and what each implies beside its cut; the cuts themselves are in `training.data.splits`.

| protocol | held out as test | excluded | unknown items |
|---|---|---|---|
| `next-item` | the test file of a directory that has one, else the last tenth of the sessions | current | miss |
| `next-item:0.2` | the last fifth of the sessions | current | miss |
| `last-days:7`, `last-day` | sessions with a click in the last 7 x 24 hours (24 hours) of the log | current | miss |
| `last-week` | the same sessions as `last-days:7`, by SR-GNN's terms | none | drop |
| `ratio:8-1-1` | the last tenth of the sessions, in the order in which they begin, by CORE's terms | none | drop |
| `time:0.9`, `time:2020-06-24` | the clicks of the last tenth; the clicks from that moment (UTC) on | current | miss |
| `leave-one-out` | the last click of every session of at least 3 | seen | miss |
| `leave-one-out-exact` | the same, tested for sessions only all of whose times are exact | seen | miss |
| `rolling-days:7` | 7 cycles: each of the last 7 x 24 hours, after training on all that is earlier | current | miss |
| `ader:16` | 16 cycles: each of the last 16 weeks, after training on what is earlier, by ADER's terms | none | drop |

Validation is held out from what is left by the same rule (`last-week`: the week before; `ratio:8-1-1`: the tenth
before; `time`, at a moment, and the cycles: the last tenth). `drop` leaves out the test clicks on items that training
does not know, then sessions of one click; `miss` counts them against the model, as a worker would. What is excluded
and dropped are defaults: an evaluation may say otherwise, and every row of a report says what was done.

`rolling-days:7/3` is the third of the seven cycles, a protocol like any other: a bundle is trained on one cycle.

Wu et al., SR-GNN, AAAI 2019, https://arxiv.org/abs/1811.00855. Hou et al., CORE, SIGIR 2022,
https://arxiv.org/abs/2204.11067. Mi, Lin and Faltings, ADER, RecSys 2020, https://arxiv.org/abs/2007.12000. Kang and
McAuley, SASRec, ICDM 2018, https://arxiv.org/abs/1808.09781.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from serving.errors import WrongUse
from serving.settings import Exclude

Unknown = Literal["miss", "drop"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """How a protocol's published figures were counted: the defaults of an evaluation."""

    exclude: Exclude = "current"
    unknown: Unknown = "miss"
    min_session_length: int = 1
    """Test sessions with fewer clicks are left out, after clicks on unknown items were (where these are dropped)."""


_LIVE = Conventions()
_SESSIONS = Conventions(exclude="none", unknown="drop", min_session_length=2)
_USERS = Conventions(exclude="seen")

_CONVENTIONS: dict[str, Conventions] = {
    "next-item": _LIVE,
    "last-days": _LIVE,
    "last-week": _SESSIONS,
    "ratio": _SESSIONS,
    "time": _LIVE,
    "leave-one-out": _USERS,
    "leave-one-out-exact": _USERS,
    "rolling-days": _LIVE,
    "ader": _SESSIONS,
}

_EXPECTED = (
    "name next-item, next-item:SHARE (between 0 and 1), last-day, last-days:N, last-week, ratio:8-1-1, time:SHARE, "
    "time:2020-06-24 (or a time, UTC), leave-one-out, leave-one-out-exact, rolling-days:N or ader:N (or one of their "
    "cycles, as in ader:16/1)"
)


@dataclass(frozen=True)
class Protocol:
    """A way to hold clicks out, as the table above names it."""

    name: str
    value: float | None = None
    """A share, a number of days, a number of cycles, or (`time`) a share below 1 or epoch milliseconds."""
    shares: tuple[float, ...] = ()
    """Parts of the sessions for training, validation and test (`ratio`), to any sum."""
    cycle: int | None = None
    """Which of the cycles, from 1."""

    @property
    def conventions(self) -> Conventions:
        """The terms under which the protocol's figures are published."""
        return _CONVENTIONS[self.name]

    @property
    def many(self) -> bool:
        """True where this stands for several cycles, each with a training of its own."""
        return self.name in ("rolling-days", "ader") and self.cycle is None

    def cycles(self) -> Iterator["Protocol"]:
        """Yield one protocol for each training that this one asks for: itself, or its cycles in order of time."""
        if not self.many:
            yield self
            return
        for cycle in range(1, int(self.value or 0) + 1):
            yield replace(self, cycle=cycle)

    def __str__(self) -> str:
        if self.shares:
            return f"{self.name}:{'-'.join(map(_written, self.shares))}"
        if self.value is None:
            return self.name
        if self.name == "time" and self.value >= 1:
            moment = EPOCH + timedelta(milliseconds=self.value)
            return f"{self.name}:{moment.replace(tzinfo=None).isoformat()}"
        return f"{self.name}:{_written(self.value)}" + ("" if self.cycle is None else f"/{self.cycle}")


def parse_protocol(text: str) -> Protocol:
    """Read a protocol's name with its value, such as `last-days:7`.

    Raises:
        WrongUse: there is no such protocol, or its value is out of range.

    """
    name, _, value = text.partition(":")
    protocol = _READERS[name](name, value) if name in _READERS else None
    if protocol is None:
        raise WrongUse(f"there is no protocol {text!r}: {_EXPECTED}")
    return protocol


def _plain(name: str, value: str) -> Protocol | None:
    return None if value else Protocol(name)


def _share(name: str, value: str) -> Protocol | None:
    number = _number(value)
    if not value:
        return Protocol(name)
    return Protocol(name, number) if 0 < number < 1 else None


def _days(name: str, value: str) -> Protocol | None:
    number = _number(value)
    return Protocol(name, number) if number > 0 else None


def _last_day(name: str, value: str) -> Protocol | None:
    return None if value else Protocol("last-days", 1.0)


def _ratio(name: str, value: str) -> Protocol | None:
    shares = tuple(_number(part) for part in value.split("-"))
    return Protocol(name, shares=shares) if len(shares) == 3 and all(share > 0 for share in shares) else None


def _time(name: str, value: str) -> Protocol | None:
    if 0 < _number(value) < 1:
        return Protocol(name, _number(value))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    return Protocol(name, float(since)) if since >= 1 else None


def _cycles(name: str, value: str) -> Protocol | None:
    found = re.fullmatch(r"([1-9]\d{0,3})(?:/([1-9]\d{0,3}))?", value)
    if found is None:
        return None
    count, cycle = int(found[1]), int(found[2]) if found[2] else None
    return Protocol(name, float(count), cycle=cycle) if cycle is None or cycle <= count else None


def _written(number: float) -> str:
    """Write a number with the fewest digits that read back as it, and no exponent: `-` stands between shares."""
    return np.format_float_positional(number, trim="-")


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return -1.0
    # Neither infinity nor NaN is a number of days.
    return number if 0 <= number < 1e9 else -1.0


_READERS: dict[str, Callable[[str, str], Protocol | None]] = {
    "next-item": _share,
    "last-day": _last_day,
    "last-days": _days,
    "last-week": _plain,
    "ratio": _ratio,
    "time": _time,
    "leave-one-out": _plain,
    "leave-one-out-exact": _plain,
    "rolling-days": _cycles,
    "ader": _cycles,
}
