"""What is to be predicted: each case is a session up to a click, and that click."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.catalogue import Catalogue
from training.data.cuts import HeldOut, first_clicks
from training.data.sequences import Events, session_numbers, to_events

Ints = npt.NDArray[np.int64]


class Context(NamedTuple):
    """What a prediction is made from: the session's events before the click, and when the click came. Milliseconds.

    The time is for models that need it; no stream knows it.
    """

    events: Events
    asked_ms: int

    @property
    def known(self) -> Ints:
        """Rows of the items that training knows, oldest first."""
        return self.events.rows[self.events.rows > 0]


@dataclass(frozen=True)
class Cases:
    """The predictions of a protocol, in the time order of the clicks to be predicted.

    `sequences` are whole held-out sessions, row 0 where training does not know the item; case i is event `position[i]`
    (at least 1) of session `session[i]`, predicted from the events before it.
    """

    sequences: Sequence[Events]
    session: Ints
    position: Ints
    click: Ints
    """The place of each case's click in the held-out log."""

    def __len__(self) -> int:
        return len(self.session)

    @cached_property
    def targets(self) -> Ints:
        """The rows to be predicted, `[n]`; 0 is an item that training has not seen, a miss for every model."""
        pairs = zip(self.session, self.position, strict=True)
        return np.array([self.sequences[session].rows[position] for session, position in pairs], dtype=np.int64)

    def contexts(self, begin: int, end: int) -> list[Context]:
        """Return what cases `begin` to `end` are predicted from."""
        pairs = zip(self.session[begin:end], self.position[begin:end], strict=True)
        return [self._context(self.sequences[session], int(position)) for session, position in pairs]

    @staticmethod
    def _context(session: Events, position: int) -> Context:
        return Context(session.before(position), int(session.times[position]))

    def some(self, most: int) -> "Cases":
        """Return the cases of so many sessions of a fixed shuffle that they are `most` at most, in their own order."""
        if len(self) <= most:
            return self
        order = np.random.default_rng(0).permutation(len(self.sequences))
        turn = np.empty(len(order), dtype=np.int64)
        turn[order] = np.arange(len(order))
        turns = turn[self.session]
        # Whole sessions; of a first one that has more cases than that, its first.
        last = int(np.searchsorted(np.cumsum(np.bincount(turns, minlength=len(order))), most, side="right"))
        chosen = np.flatnonzero(turns < max(last, 1))[:most]
        return Cases(self.sequences, self.session[chosen], self.position[chosen], self.click[chosen])

    def batches(self, size: int) -> Iterator[slice]:
        """Cut the cases into slices of at most `size`."""
        for begin in range(0, len(self), size):
            yield slice(begin, min(begin + size, len(self)))


def build_cases(held_out: HeldOut, catalogue: Catalogue, event_types: Sequence[str] = ()) -> Cases:
    """Turn held-out clicks into cases, with the items' rows and the types' numbers that training gave them."""
    frame = held_out.log.frame
    sequences = to_events(frame, catalogue, event_types, keep_unknown=True)
    session = session_numbers(frame)
    order = np.argsort(session, kind="stable")
    lengths = np.array([len(events) for events in sequences], dtype=np.int64)
    position = np.empty(len(session), dtype=np.int64)
    position[order] = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    wanted = held_out.targets & ~first_clicks(frame)
    return Cases(sequences, session[wanted], position[wanted], np.flatnonzero(wanted))
