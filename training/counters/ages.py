"""What old sessions and clicks count for."""

import numpy as np
import numpy.typing as npt

from serving.errors import WrongUse
from training.data.sequences import Rows

DAY_MS = 24 * 3600 * 1000

# The oldest counts for this much at least: a float32 holds it, and nothing is divided by zero.
_LEAST = 1e-30


def half_lives(half_life_days: float | None, times_ms: Rows | None, count: int) -> npt.NDArray[np.float64]:
    """Return the weights `[count]` of sessions, by their ends, or of clicks.

    It is 1 for the newest, half as much for each half-life before it, never 0.

    Raises:
        WrongUse: there is a half-life, and no times.

    """
    if half_life_days is None or count == 0:
        return np.ones(count)
    if times_ms is None:
        raise WrongUse(f"a half-life of {half_life_days} days needs the times of clicks: give them, or no half-life")
    age: npt.NDArray[np.float64] = (times_ms.max() - times_ms) / DAY_MS
    return np.maximum(np.exp2(-age / half_life_days), _LEAST)
