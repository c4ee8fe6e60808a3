"""Training clicks as all parts of a training want them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.catalogue import Catalogue
from training.data.log import ClickLog
from training.data.sequences import Events, Rows, build_catalogue, event_types, popularity, to_events
from training.data.splits import Training
from training.errors import DataError
from training.evaluation.cases import Cases, build_cases


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Clicks by session, in the terms of their own catalogue, and the validation cases in the same terms.

    `sessions` are in the order of their first clicks; `counts` `[N + 1]` are the clicks of each item;
    `validation_fingerprint` is that of `training.data.splits.Training`.
    """

    clicks: ClickLog
    catalogue: Catalogue
    event_types: Sequence[str]
    sessions: Sequence[Events]
    counts: npt.NDArray[np.float32]
    validation: Cases
    validation_fingerprint: str | None

    @property
    def sequences(self) -> list[Rows]:
        """The sessions' item rows."""
        return [session.rows for session in self.sessions]

    @property
    def times_ms(self) -> list[Rows] | None:
        """The times of each session's clicks, UTC epoch milliseconds; None where the clicks have none."""
        return [session.times for session in self.sessions] if self.clicks.timed else None

    def spread(self, count: int) -> list[Events]:
        """Return up to `count` sessions of two clicks or more, evenly spread over the data, the longest one first."""
        usable = [session for session in self.sessions if len(session) > 1] or list(self.sessions)
        every = max(1, len(usable) // count)
        return [max(usable, key=len), *usable[::every]][:count]

    def varied(self, count: int) -> list[Events]:
        """Return what `spread` does, whose last make room for the shortest sessions with types that the others lack."""
        chosen = self.spread(count)
        kept = max(1, len(chosen) - len(self.event_types))
        for number in range(1, len(self.event_types) + 1):
            if not any((session.types == number).any() for session in chosen[:kept]):
                having = (session for session in self.sessions if (session.types == number).any())
                chosen.insert(kept, min(having, key=len))
                kept += 1
        return chosen[:count]


def prepare_training(training: Training, before: Catalogue | None = None) -> Prepared:
    """Give the items and event types of training clicks their numbers, and put both parts into these.

    Items of a catalogue `before` keep their rows (`build_catalogue`).

    Raises:
        DataError: there is nothing to validate by, and it is no refit.

    """
    held = training.validation
    if held.cases == 0 and not training.refit:
        raise DataError(
            f"{held.log.name}: nothing in the validation part can be predicted: {len(held.log)} clicks in "
            f"{held.log.sessions} sessions are left of it; it needs sessions of two clicks, where the protocol drops "
            "other items on items that training knows; take more data or another protocol"
        )
    frame = training.clicks.frame
    catalogue, types = build_catalogue(frame, before), event_types(frame)
    sessions = to_events(frame, catalogue, types)
    return Prepared(
        clicks=training.clicks,
        catalogue=catalogue,
        event_types=types,
        sessions=sessions,
        counts=popularity([session.rows for session in sessions], len(catalogue)),
        validation=build_cases(training.validation, catalogue, types),
        validation_fingerprint=training.validation_fingerprint,
    )
