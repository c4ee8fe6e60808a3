"""What old sessions count for."""

import numpy as np
import numpy.typing as npt

from serving.errors import WrongUse
from training.data.sequences import Rows

DAY_MS = 24 * 3600 * 1000

# The oldest session counts for this much at least: a float32 holds it, and nothing is divided by zero.
_LEAST = 1e-30


def half_lives(half_life_days: float | None, ends_ms: Rows | None, sessions: int) -> npt.NDArray[np.float64]:
    """Return each session's weight `[n]`: 1 for the newest, half as much for each half-life before it, never 0.

    Raises:
        WrongUse: there is a half-life, and no times.

    """
    if half_life_days is None or sessions == 0:
        return np.ones(sessions)
    if ends_ms is None:
        raise WrongUse(
            f"a half-life of {half_life_days} days needs the times at which sessions ended: give them, or no half-life"
        )
    age: npt.NDArray[np.float64] = (ends_ms.max() - ends_ms) / DAY_MS
    return np.maximum(np.exp2(-age / half_life_days), _LEAST)
