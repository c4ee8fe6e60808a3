"""How far a training is: by the targets that it has learned from, and by what fits into its time."""

import math
import time

from training.checks import above

# Before this share of a time budget is used, the pace says little about the rest.
BUDGET_TRIAL = 0.1


class Pace:
    """Counts targets.

    Args:
        planned: targets that the learning rate's schedule spans.
        until: targets after which the training ends, at most `planned`.
        max_seconds: where the rest of the plan does not fit into this time, the plan is what fits.

    """

    def __init__(self, planned: int, until: int, max_seconds: float | None) -> None:
        if max_seconds is not None:
            above(0, max_seconds=max_seconds)
        self._planned, self._until = planned, until
        self._max_seconds = max_seconds
        self.done = 0
        """Targets so far, those before a resume too."""

    def begin(self, done: int) -> None:
        """Start the clock, with so many targets done before."""
        self.done = self._before = done
        self._began = time.monotonic()
        self._first_step = math.inf, 0

    def advance(self, targets: int) -> None:
        """Count the targets of a step."""
        self.done += targets
        if self._first_step[0] == math.inf:
            self._first_step = time.monotonic(), self.done

    def share(self) -> float:
        """Return the share of the schedule that is done; from 1 on the training ends."""
        return self.done / self._spanned()

    def shortened(self) -> bool:
        """Tell whether the plan does not fit into the time."""
        return self._fitting() < self._planned

    def report(self) -> tuple[float, float]:
        """Return the share of the training that is done, and the seconds left, infinite before the first step."""
        spanned = self._spanned()
        ratio = spanned / min(self._until, spanned)
        share, before = ratio * self.done / spanned, ratio * self._before / spanned
        elapsed = time.monotonic() - self._began
        left = elapsed * (1 - share) / (share - before) if share > before else math.inf
        return min(1.0, share), max(0.0, left)

    def _spanned(self) -> float:
        return min(self._planned, self._fitting())

    def _fitting(self) -> float:
        """Return the targets that a run within the time learns from, infinite while nothing says that it is short."""
        if self._max_seconds is None:
            return math.inf
        now = time.monotonic()
        left = self._max_seconds - (now - self._began)
        if left <= 0:
            return max(1, self.done)
        # The first step is no measure: it loads half of torch.
        began, done = self._first_step
        if now - began < BUDGET_TRIAL * self._max_seconds:
            return math.inf
        return self.done + left * (self.done - done) / (now - began)
