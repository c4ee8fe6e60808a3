"""What is to be predicted: each case is a session up to a click, and that click."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.catalogue import Catalogue
from training.data.sequences import Rows, session_numbers, split_by_session
from training.data.splits import HeldOut, first_clicks

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cases:
    """The predictions of a protocol, in the time order of the clicks to be predicted.

    `sequences` are whole held-out sessions as item rows, 0 where training does not know the item; case i is event
    `position[i]` (at least 1) of session `session[i]`, predicted from the events before it.
    """

    sequences: Sequence[Rows]
    session: Ints
    position: Ints
    click: Ints
    """The place of each case's click in the held-out log."""

    def __len__(self) -> int:
        return len(self.session)

    @property
    def targets(self) -> Ints:
        """The rows to be predicted, `[n]`; 0 is an item that training has not seen, a miss for every model."""
        pairs = zip(self.session, self.position, strict=True)
        return np.array([self.sequences[session][position] for session, position in pairs], dtype=np.int64)

    @property
    def current(self) -> Ints:
        """The rows of the clicks right before, `[n]`, 0 where unknown."""
        pairs = zip(self.session, self.position, strict=True)
        return np.array([self.sequences[session][position - 1] for session, position in pairs], dtype=np.int64)

    def prefixes(self, begin: int, end: int) -> list[Rows]:
        """Return the sessions before the clicks of cases `begin` to `end`, oldest first, unknown items as 0."""
        pairs = zip(self.session[begin:end], self.position[begin:end], strict=True)
        return [self.sequences[session][:position] for session, position in pairs]

    def batches(self, size: int) -> Iterator[slice]:
        """Cut the cases into slices of at most `size`."""
        for begin in range(0, len(self), size):
            yield slice(begin, min(begin + size, len(self)))


def build_cases(held_out: HeldOut, catalogue: Catalogue) -> Cases:
    """Turn held-out clicks into cases, with the items' rows in training's catalogue."""
    frame = held_out.log.frame
    sequences = split_by_session(frame, catalogue.rows(frame.get_column("item_id")))
    session = session_numbers(frame)
    order = np.argsort(session, kind="stable")
    lengths = np.array([len(rows) for rows in sequences], dtype=np.int64)
    position = np.empty(len(session), dtype=np.int64)
    position[order] = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    wanted = held_out.targets & ~first_clicks(frame)
    return Cases(sequences, session[wanted], position[wanted], np.flatnonzero(wanted))
