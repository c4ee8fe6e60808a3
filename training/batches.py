"""From sessions to batches of padded windows.

Shape suffixes, this file only:
    W windows of the training data    B windows of a batch    L positions, oldest first, padded on the right
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.sequences import Rows, training_windows

Ints = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Windows to train on: `[B, L]` int64, `lengths` `[B]`.

    The item after position i of a window is `targets[i]`, and counts where `mask` (bool) is True.
    """

    items: Tensor
    lengths: Tensor
    targets: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Windows:
    """The training data: all sessions' rows joined, and windows `rows[start:stop]` whose targets are `first..stop-1`.

    `start`, `first` and `stop` are `[W]`, positions in `rows`.
    """

    rows: Ints
    start: Ints
    first: Ints
    stop: Ints

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def targets(self) -> int:
        """The number of targets in an epoch."""
        return int((self.stop - self.first).sum())


def cut_windows(sessions: Sequence[Rows], window: int) -> Windows:
    """Cut sessions into windows by serving's rule; sessions of one click have nothing to learn from."""
    pieces: list[tuple[int, int, int]] = []
    offset = 0
    for session in sessions:
        pieces += [
            (offset + w.start, offset + w.first, offset + w.stop) for w in training_windows(len(session), window)
        ]
        offset += len(session)
    start, first, stop = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    rows = np.concatenate(sessions) if sessions else np.zeros(0, dtype=np.int64)
    return Windows(rows, start, first, stop)


def epoch_batches(windows: Windows, batch_targets: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield every window once, in a random order that is the generator's.

    A batch holds windows of about one length, for most sessions are short and padding them to the longest would cost
    ten times the work, and about `batch_targets` targets, so that each target weighs the same whatever its session's
    length: with a fixed number of windows instead, targets of short sessions weighed ten times more and the hit rate
    on serenade-sample fell by 3 points.
    """
    shuffled = torch.randperm(len(windows), generator=generator).numpy()
    by_length = shuffled[np.argsort((windows.stop - windows.start)[shuffled], kind="stable")]
    targets = (windows.stop - windows.first)[by_length]
    batch_of = (np.cumsum(targets) - targets) // batch_targets
    batches = np.split(by_length, np.flatnonzero(np.diff(batch_of)) + 1)
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield make_batch(windows, batches[number])


def make_batch(windows: Windows, chosen: Ints) -> Batch:
    """Pad the chosen windows (`[B]`, their numbers) to the longest of them."""
    start, first, stop = windows.start[chosen], windows.first[chosen], windows.stop[chosen]
    lengths = stop - start - 1
    position = np.arange(lengths.max())
    real = position < lengths[:, None]
    place = np.where(real, start[:, None] + position, 0)
    items = np.where(real, windows.rows[place], 0)
    targets = np.where(real, windows.rows[place + 1], 0)
    mask = real & (place + 1 >= first[:, None])
    return Batch(*map(torch.from_numpy, (items, lengths, targets, mask)))


def pad(sessions: Sequence[Rows]) -> tuple[Tensor, Tensor]:
    """Return sessions as items `[B, L]`, padded with 0 to the longest, and lengths `[B]`, at least 1; both int64."""
    lengths = torch.tensor([max(1, len(session)) for session in sessions])
    items = torch.zeros(len(sessions), int(lengths.max()), dtype=torch.int64)
    for i, session in enumerate(sessions):
        items[i, : len(session)] = torch.from_numpy(session)
    return items, lengths
