"""Times in any of the units that click logs come in, as UTC epoch milliseconds."""

from pathlib import Path

import polars as pl

from training.errors import DataError

UNITS = ("auto", "s", "ms", "us", "ns")

_PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}

# 1e11 s is the year 5138, 1e11 ms is March 1973: between 1973 and 5138 a magnitude has one meaning.
_LIMITS = (("s", 1e11), ("ms", 1e14), ("us", 1e17))


def to_milliseconds(times: pl.Series, unit: str, path: Path) -> pl.Series:
    """Return the times as int64 milliseconds, null where a value is no time.

    Numbers are taken in `unit` (decimal fractions allowed), or, with `auto`, in the unit that their magnitude shows;
    text that is no number is read as ISO 8601, in UTC unless it names a zone.

    Raises:
        DataError: `auto`, and the values are of different magnitudes.

    """
    if times.dtype.is_temporal():
        return times.cast(pl.Datetime("ms")).cast(pl.Int64)
    if times.dtype == pl.String:
        numbers = times.str.strip_chars().cast(pl.Float64, strict=False)
        if numbers.null_count() > len(numbers) / 2:
            return _from_text(times)
    else:
        numbers = times.cast(pl.Float64)
    numbers = pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()
    known = unit if unit != "auto" else recognise_unit(numbers, path)
    return (numbers / _PER_MS[known]).round().cast(pl.Int64, strict=False)


def recognise_unit(numbers: pl.Series, path: Path) -> str:
    """Return `s`, `ms`, `us` or `ns` by the size of the numbers, which must agree but for a hundredth at either end."""
    low, high = numbers.quantile(0.01), numbers.quantile(0.99)
    if low is None or high is None:
        return "ms"
    # Zeros and other small numbers fit any unit.
    if low > 1e8 and _unit(low) != _unit(high):
        raise DataError(
            f"{path}: times from {low:.0f} to {high:.0f} look like {_unit(low)} and {_unit(high)} at once; "
            "name the unit with --time-unit if it is one unit, or repair the file"
        )
    return _unit(high)


def _unit(value: float) -> str:
    return next((unit for unit, limit in _LIMITS if value < limit), "ns")


def _from_text(times: pl.Series) -> pl.Series:
    moments = times.str.strip_chars().str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False)
    if moments.null_count() > len(moments) / 2:
        moments = times.str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
    return moments.cast(pl.Int64)
