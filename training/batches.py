"""From sessions to batches of padded windows.

Shape suffixes, this file only:
    W windows of the training data    B windows of a batch    L positions, oldest first, padded on the right
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serving.encoders import TimeOf
from serving.encoders.events import ages, silences
from training.data.sequences import Events, training_windows

Ints = npt.NDArray[np.int64]


class Sessions(NamedTuple):
    """What an encoder reads of some sessions, all int64.

    `items`, `types` and `silences` are `[B, L]`: item rows, numbers of event types and of the silences before the
    events (`serving.encoders.events`), each 0 past a session's end. `lengths` is `[B]`, each at least 1. `ages`
    `[B, L, L]` are the numbers of event j's age at the moment of event i, for encoders that look at them.
    """

    items: Tensor
    lengths: Tensor
    types: Tensor
    silences: Tensor
    ages: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Sessions":
        """Return what becomes of each tensor."""
        ages = None if self.ages is None else change(self.ages)
        return Sessions(change(self.items), change(self.lengths), change(self.types), change(self.silences), ages)

    def to(self, device: torch.device) -> "Sessions":
        """Return the same on a device."""
        return self.each(lambda part: part.to(device))


class Batch(NamedTuple):
    """Windows to train on; the item after position i of a window is `targets[i]` and counts where `mask` is True.

    `targets` is int64, `mask` bool, both `[B, L]`.
    """

    sessions: Sessions
    targets: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the same on a device."""
        return Batch(self.sessions.to(device), self.targets.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Windows:
    """The training data: all sessions' events joined, and windows `start:stop` of them with targets `first..stop-1`.

    `rows`, `types`, `silences` and `times` have one value for each event; `start`, `first` and `stop` are `[W]`,
    positions among them.
    """

    rows: Ints
    types: Ints
    silences: Ints
    times: Ints
    start: Ints
    first: Ints
    stop: Ints

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def targets(self) -> int:
        """The number of targets in an epoch."""
        return int((self.stop - self.first).sum())


def cut_windows(sessions: Sequence[Events], window: int) -> Windows:
    """Cut sessions into windows by serving's rule; sessions of one click have nothing to learn from."""
    pieces: list[tuple[int, int, int]] = []
    offset = 0
    for session in sessions:
        pieces += [
            (offset + w.start, offset + w.first, offset + w.stop) for w in training_windows(len(session), window)
        ]
        offset += len(session)
    start, first, stop = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    none = np.zeros(0, dtype=np.int64)
    return Windows(
        rows=np.concatenate([none, *(session.rows for session in sessions)]),
        types=np.concatenate([none, *(session.types for session in sessions)]),
        silences=np.concatenate([none, *(silences(session.times) for session in sessions)]),
        times=np.concatenate([none, *(session.times for session in sessions)]),
        start=start,
        first=first,
        stop=stop,
    )


def epoch_batches(
    windows: Windows, batch_targets: int, generator: torch.Generator, time_of: TimeOf = "none", *, begin: int = 0
) -> Iterator[Batch]:
    """Return every window once, in a random order that is the generator's, drawn at once; without the first batches.

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
    order = torch.randperm(len(batches), generator=generator).tolist()
    return (make_batch(windows, batches[number], time_of) for number in order[begin:])


def make_batch(windows: Windows, chosen: Ints, time_of: TimeOf = "none") -> Batch:
    """Pad the chosen windows (`[B]`, their numbers) to the longest of them; `time_of` says whether ages are wanted."""
    start, first, stop = windows.start[chosen], windows.first[chosen], windows.stop[chosen]
    lengths = stop - start - 1
    position = np.arange(lengths.max())
    real = position < lengths[:, None]
    place = np.where(real, start[:, None] + position, 0)
    quiet = np.where(real, windows.silences[place], 0)
    quiet[:, 0] = 0  # a window's first event has none before it
    sessions = Sessions(
        items=torch.from_numpy(np.where(real, windows.rows[place], 0)),
        lengths=torch.from_numpy(lengths),
        types=torch.from_numpy(np.where(real, windows.types[place], 0)),
        silences=torch.from_numpy(quiet),
        ages=None if time_of == "none" else _ages(windows.times, place, time_of),
    )
    targets = np.where(real, windows.rows[place + 1], 0)
    mask = real & (place + 1 >= first[:, None])
    return Batch(sessions, torch.from_numpy(targets), torch.from_numpy(mask))


def _ages(times: Ints, place: Ints, time_of: TimeOf) -> Tensor:
    moments = times[place + 1] if time_of == "query" else times[place]
    return torch.from_numpy(ages(moments, times[place]))


class Asked(NamedTuple):
    """A window that a session vector is wanted of: its events, and the query's own time. Milliseconds."""

    events: Events
    at_ms: int = 0


def pad(asked: Sequence[Asked], time_of: TimeOf = "none") -> Sessions:
    """Return windows without their unknown items, padded to the longest; an empty one has length 1 and means nothing.

    A silence is one between two events on known items, as in serving.
    """
    known = [window.events.rows > 0 for window in asked]
    counts = np.array([np.count_nonzero(mask) for mask in known], dtype=np.int64)
    shape = len(asked), max(1, int(counts.max(initial=0)))
    items, types, quiet, times, moments = (np.zeros(shape, dtype=np.int64) for _ in range(5))
    for i, ((events, at_ms), mask, count) in enumerate(zip(asked, known, counts, strict=True)):
        items[i, :count], types[i, :count] = events.rows[mask], events.types[mask]
        when = times[i, :count] = events.times[mask]
        quiet[i, :count] = silences(when)
        moments[i, :count] = when if time_of == "last" else [*when, at_ms][1:]
    return Sessions(
        items=torch.from_numpy(items),
        lengths=torch.from_numpy(np.maximum(1, counts)),
        types=torch.from_numpy(types),
        silences=torch.from_numpy(quiet),
        ages=None if time_of == "none" else torch.from_numpy(ages(moments, times)),
    )
