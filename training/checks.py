"""Checks that configurations share: each names the field and the value."""

import math

from serving.errors import WrongUse


def at_least(minimum: float, **values: float) -> None:
    """Refuse a value below the minimum."""
    for name, value in values.items():
        if not value >= minimum:
            raise WrongUse(f"{name} must be at least {minimum}, not {value}")


def above(minimum: float, **values: float) -> None:
    """Refuse a value at or below the minimum."""
    for name, value in values.items():
        if not value > minimum:
            raise WrongUse(f"{name} must be above {minimum}, not {value}")


def at_most(maximum: float, **values: float) -> None:
    """Refuse a value above the maximum."""
    for name, value in values.items():
        if not value <= maximum:
            raise WrongUse(f"{name} must be at most {maximum}, not {value}")


def finite(**values: float) -> None:
    """Refuse infinities and NaN, which JSON and so a manifest cannot hold."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise WrongUse(f"{name} must be a finite number, not {value}")


def share(**values: float) -> None:
    """Refuse a value that is no share: 0 and above, below 1."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise WrongUse(f"{name} is a share from 0 to below 1, not {value}")


def within(minimum: float, maximum: float, **values: float) -> None:
    """Refuse a value below the minimum or above the maximum."""
    for name, value in values.items():
        if not minimum <= value <= maximum:
            raise WrongUse(f"{name} must be from {minimum} to {maximum}, not {value}")
