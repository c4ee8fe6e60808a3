"""A bundle's figures: from the very lists that a worker would show, or from dense scores of its own encoder."""

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.control import Control
from serving.encoders import Reading, RecurrentEncoder
from serving.process import Processed, Sourced, process
from serving.recommender import Recommender
from serving.session import Moment, SessionState, join_lines
from serving.settings import Exclude, ServingSettings
from training.data.log import ClickLog
from training.data.splits import HeldOut, first_clicks
from training.evaluation.cases import Context
from training.evaluation.dense import Evaluated

_BATCH = 256


def evaluate_served(bundle: Bundle, held_out: HeldOut, *, exclude: Exclude, k: int) -> Evaluated:
    """Replay held-out clicks in time order through `serving.process` and look for each in the list shown before it.

    This is the prequential hit that a worker counts: for the same clicks the figures are the same.
    The log is taken as cut into sessions already, so no further gap cuts it.
    """
    recommender = Recommender(bundle, serving_settings(bundle, exclude, k))
    targets = held_out.targets & ~first_clicks(held_out.log.frame)
    ranks: list[int] = []
    lists: list[list[str]] = []
    shown: dict[str, list[str]] = {}
    for processed in replay(held_out.log, recommender):
        # A hit belongs to each click that is not its session's first, in order.
        ranks.extend(hit.rank for hit in processed.hits)
        for served in processed.lists:
            if (before := shown.get(served.click.session_id)) is not None:
                lists.append(before)
            shown[served.click.session_id] = [item.item_id for item in served.recommendation.items]
    wanted = targets[~first_clicks(held_out.log.frame)]
    top = np.zeros((int(wanted.sum()), k), dtype=np.int64)
    for place, case in enumerate(np.flatnonzero(wanted)):
        rows = bundle.catalogue.rows(lists[case])
        top[place, : len(rows)] = rows
    return Evaluated(np.array(ranks, dtype=np.int64)[wanted], top)


def serving_settings(bundle: Bundle, exclude: Exclude, k: int) -> ServingSettings:
    """Return a worker's settings for lists of k over a log that is cut into sessions already."""
    length = max(ServingSettings().session_length, bundle.manifest.encoder.window)
    return ServingSettings(exclude=exclude, list_size=k, session_gap_s=math.inf, session_length=length)


def replay(log: ClickLog, recommender: Recommender, control: Control | None = None) -> Iterator[Processed]:
    """Process a log's clicks in time order, batch by batch, each session's state carried on."""
    states: dict[str, SessionState] = {}
    clicks = (Sourced(click, offset, click.timestamp_ms) for offset, click in enumerate(log.clicks()))
    while batch := list(islice(clicks, _BATCH)):
        known = {c.click.session_id: states[c.click.session_id] for c in batch if c.click.session_id in states}
        processed = process(known, batch, recommender, control or Control())
        states.update(processed.states)
        yield processed


class BundleScorer:
    """A bundle's dense scores: its encoder's session vector times all item vectors, without index and lists."""

    def __init__(self, bundle: Bundle) -> None:
        self.name = bundle.manifest.encoder.kind
        self._bundle = bundle

    def scores(self, contexts: Sequence[Context]) -> npt.NDArray[np.float32]:
        """Return inner products `[B, N + 1]`; popularity where a session's window has no known item."""
        vectors, found = self._vectors(contexts)
        scores = np.empty((len(contexts), len(self._bundle.vectors)), dtype=np.float32)
        known = np.array(found, dtype=np.bool_)
        scores[~known] = self._bundle.popularity
        scores[known] = vectors[known] @ self._bundle.vectors.T
        return scores

    def _vectors(self, contexts: Sequence[Context]) -> tuple[npt.NDArray[np.float32], Sequence[bool]]:
        readings = [Reading([self._moment(at, context)], []) for at, context in enumerate(contexts)]
        encoder = self._bundle.encoder
        if isinstance(encoder, RecurrentEncoder):
            return encoder.encode(readings, _rows_of)
        return encoder.encode(readings, _rows_of, asked_ms=[context.asked_ms for context in contexts])

    def _moment(self, at: int, context: Context) -> Moment:
        """Return a session's last moment; the "item ids" of its column are rows."""
        events = context.events
        rows, numbers, times = (column.tolist() for column in (events.rows, events.types, events.times))
        names = ("", *self._bundle.manifest.encoder.event_types)
        return Moment(
            at,
            rows[-1],
            len(rows),
            join_lines(map(str, rows)),
            join_lines(names[number] for number in numbers),
            struct.pack(f"<{len(times)}q", *times),
        )


def _rows_of(item_ids: Sequence[str]) -> list[int]:
    return list(map(int, item_ids))
