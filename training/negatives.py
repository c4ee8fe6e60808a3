"""Negatives: the items that a sampled loss compares the true next items of a batch with.

Every source says how often it expects each negative in its draw, from counts of the training data alone; that is what
a logQ correction needs.

Shape suffixes, this file only:
    T targets of a batch    N negatives    V catalogue + 1 (row 0 is padding, never drawn)
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from training.batches import Windows
from training.errors import DataError


class Negatives(NamedTuple):
    """Negatives that all targets of a batch share: int64 `rows` `[N]`, on the device of the targets.

    `log_expected` is the log of how many times each of them is expected among the N, float32 `[N]`.
    """

    rows: Tensor
    log_expected: Tensor


class Source(Protocol):
    """Where negatives come from."""

    def draw(self, targets_T: Tensor, generator: torch.Generator) -> Negatives:
        """Return negatives for a batch with these targets."""
        ...


class Popular:
    """Draws items with replacement, with probability proportional to popularity^alpha.

    `alpha` 0 is uniform over the catalogue, 1 follows the clicks; GRU4Rec's authors settle between .2 and .75.

    Args:
        popularity_V: clicks of each item in the training data, `[V]`, row 0 is ignored.
        alpha: 0 or above.
        count: N.

    """

    def __init__(self, popularity_V: Tensor, alpha: float, count: int) -> None:
        density_V = _density(popularity_V.double() ** alpha)
        self.count = count
        self._log_q_V = density_V.log().float()
        # Inverting the distribution function costs log V a draw; torch.multinomial would read all of V each time.
        self._cumulated_V = density_V.cumsum(0)

    def draw(self, targets_T: Tensor, generator: torch.Generator) -> Negatives:
        """Return `count` negatives."""
        uniform_N = torch.rand(self.count, generator=generator, dtype=torch.float64)
        rows_N = torch.searchsorted(self._cumulated_V, uniform_N, right=True)
        # Rounding may leave the last value a hair below 1.
        rows_N.clamp_(1, len(self._cumulated_V) - 1)
        return _on(targets_T.device, rows_N, self.log_expected(rows_N))

    def log_expected(self, rows: Tensor) -> Tensor:
        """Return the log of how often each of these rows is expected in a draw."""
        return self._log_q_V[rows] + torch.tensor(float(self.count)).log()


class InBatch:
    """Takes targets of the batch itself, each for all others, at most `count` of them, chosen at random.

    They are as frequent as targets are in the training data, which is what `log_expected` says; how often the batch
    at hand has them is no measure, for it was drawn itself.

    Args:
        target_counts_V: see `target_counts`.
        count: N at most; None takes them all.

    """

    def __init__(self, target_counts_V: Tensor, count: int | None = None) -> None:
        self._count = count
        self._log_q_V = _density(target_counts_V.double()).log().float()

    def draw(self, targets_T: Tensor, generator: torch.Generator) -> Negatives:
        """Return all targets, or `count` of them without replacement."""
        rows_N = targets_T.cpu()
        if self._count is not None and self._count < len(rows_N):
            rows_N = rows_N[torch.randperm(len(rows_N), generator=generator)[: self._count]]
        return _on(targets_T.device, rows_N, self.log_expected(rows_N, len(rows_N)))

    def log_expected(self, rows: Tensor, count: int) -> Tensor:
        """Return the log of how often each of these rows is expected among `count` targets."""
        return self._log_q_V[rows] + torch.tensor(float(count)).log()


class Mixed:
    """Takes some negatives by popularity and some from the batch.

    Each is corrected for how often both parts together expect it, whichever part it came from (the balance heuristic
    of multiple importance sampling, Veach and Guibas, 1995, https://doi.org/10.1145/218380.218498). This keeps the
    estimate unbiased, where a correction by its own part alone would count each item twice.
    """

    def __init__(self, popular: Popular, in_batch: InBatch) -> None:
        self._popular = popular
        self._in_batch = in_batch

    def draw(self, targets_T: Tensor, generator: torch.Generator) -> Negatives:
        """Return the drawn ones, then those of the batch."""
        drawn_N = self._popular.draw(targets_T, generator).rows.cpu()
        taken_N = self._in_batch.draw(targets_T, generator).rows.cpu()
        rows_N = torch.cat([drawn_N, taken_N])
        expected_N = torch.logaddexp(
            self._popular.log_expected(rows_N), self._in_batch.log_expected(rows_N, len(taken_N))
        )
        return _on(targets_T.device, rows_N, expected_N)


def make_source(popularity_V: Tensor, target_counts_V: Tensor, alpha: float, count: int, drawn_share: float) -> Source:
    """Return the source of `count` negatives, of which a share is drawn by popularity^alpha, the rest in-batch.

    A share of 0 takes all targets of each batch, however many `count` says. A batch with fewer targets than the rest
    wants gives what it has.

    Raises:
        DataError: the counts hold nothing to draw from.

    """
    drawn = round(drawn_share * count)
    if drawn == count:
        return Popular(popularity_V, alpha, count)
    if drawn == 0:
        return InBatch(target_counts_V)
    return Mixed(Popular(popularity_V, alpha, drawn), InBatch(target_counts_V, count - drawn))


def target_counts(windows: Windows, items: int) -> Tensor:
    """Return how often each item is a target in an epoch, float32 `[items + 1]`."""
    # A window's targets are a run of positions: +1 where it begins, -1 behind its end.
    steps = np.bincount(windows.first, minlength=len(windows.rows) + 1).astype(np.int64)
    steps -= np.bincount(windows.stop, minlength=len(windows.rows) + 1)
    times = np.cumsum(steps)[:-1]
    counts = np.bincount(windows.rows, weights=times, minlength=items + 1)
    return torch.from_numpy(counts.astype(np.float32))


def _density(weights_V: Tensor) -> Tensor:
    weights_V = weights_V.clone()
    weights_V[0] = 0
    total = weights_V.sum()
    if not total > 0:
        raise DataError("there are no items to draw negatives from: the training data holds no clicks")
    return weights_V / total


def _on(device: torch.device, rows_N: Tensor, log_expected_N: Tensor) -> Negatives:
    return Negatives(rows_N.to(device), log_expected_N.to(device))
