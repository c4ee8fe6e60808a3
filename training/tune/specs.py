"""SPEC: what a search may try for one parameter, as `--search KEY=SPEC` and a recipe's `SPACE` write it.

`0.1..0.5`                          all values from 0.1 to 0.5; whole numbers where the parameter has whole numbers
`1e-3..1e-2:log`                    the same, evenly by their logarithms
`64|100|128`, `gru|core`, `none|3`  these values, written as `--set` takes them
"""

import math
from dataclasses import dataclass

from serving.errors import WrongUse

_FORMS = "write a range such as 0.1..0.5 or 1e-3..1e-2:log, or choices such as 64|100|128"


@dataclass(frozen=True)
class Range:
    """All values from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{number_text(self.low)}..{number_text(self.high)}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Some values, as `--set` takes them."""

    texts: tuple[str, ...]

    def __str__(self) -> str:
        return "|".join(self.texts)


Spec = Range | Choices


def parse_spec(text: str) -> Spec:
    """Read a SPEC; `parse_spec(str(spec))` is the same again.

    Raises:
        WrongUse: it is none, or has fewer than two values to choose from.

    """
    if "|" in text:
        return _choices(text)
    span, colon, scale = text.partition(":")
    low, dots, high = span.partition("..")
    if not dots:
        raise WrongUse(f"{text!r} has nothing to choose from: {_FORMS}; --set gives a single value")
    if colon and scale.strip() != "log":
        raise WrongUse(f"{text!r} has the scale {scale!r}: the only one is log, as in 1e-3..1e-2:log")
    return _range(text, _number(text, low), _number(text, high), log=bool(colon))


def number_text(value: float) -> str:
    """Return a number without a needless `.0`, so that it is read as a whole one where it is one."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _range(text: str, low: float, high: float, *, log: bool) -> Range:
    if not low < high:
        raise WrongUse(f"{text!r} begins at {low:g} and ends at {high:g}: the lower end comes first")
    if log and low <= 0:
        raise WrongUse(f"{text!r} begins at {low:g}, which has no logarithm: begin above 0, or leave :log out")
    return Range(low, high, log)


def _choices(text: str) -> Choices:
    texts = tuple(part.strip() for part in text.split("|"))
    if "" in texts:
        raise WrongUse(f"{text!r} has an empty choice: {_FORMS}")
    if twice := next((part for part in texts if texts.count(part) > 1), None):
        raise WrongUse(f"{text!r} has {twice!r} twice: name each choice once")
    return Choices(texts)


def _number(text: str, end: str) -> float:
    try:
        value = float(end)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise WrongUse(f"{text!r} has the end {end.strip()!r}, which is no number: {_FORMS}")
    return value
