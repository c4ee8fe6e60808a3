"""Validation during training: dense scores in torch over the whole catalogue, ranks with ties counted against us.

It goes around index and encoder runtime to be quick. An evaluation of a bundle goes through them
(`nextclick evaluate`), and a test holds the two against each other.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from serving.ranks import summary
from serving.session import last_events, window_start
from serving.settings import Exclude
from training.batches import Asked, pad
from training.evaluation.cases import Cases, Context
from training.evaluation.dense import evaluate_dense
from training.models import SessionEncoder

Floats = npt.NDArray[np.float32]


# Pairs of events that an encoder may look at in one call: some hundred megabytes for two heads.
_PAIRS = 8_000_000


class EncoderScorer:
    """An encoder's dense scores for sessions, each read as a worker with this window reads it.

    Args:
        encoder: in evaluation mode while it scores.
        window: events that it reads at most.
        popularity: scores where a session's window has no known item, `[N + 1]`, as a worker falls back.

    """

    def __init__(self, encoder: SessionEncoder, window: int, popularity: Floats) -> None:
        self.name = encoder.kind
        self._encoder = encoder
        self._window = window
        self._popularity = popularity
        self.item_count = len(popularity) - 1
        self._at_rest = False
        self._items: torch.Tensor | None = None

    def scores(self, contexts: Sequence[Context]) -> Floats:
        """Return inner products with all items, `[B, N + 1]`."""
        asked = [self._window_of(context) for context in contexts]
        was_training = self._encoder.training
        self._encoder.eval()
        try:
            with torch.inference_mode():
                items = self._item_vectors()
                vectors = [self._vectors(asked[part], items.device) for part in self._portions(asked)]
                scores: Floats = (torch.cat(vectors) @ items.T).cpu().numpy()
        finally:
            self._encoder.train(was_training)
        scores[[not window.events.rows.any() for window in asked]] = self._popularity
        return scores

    def _vectors(self, asked: Sequence[Asked], device: torch.device) -> torch.Tensor:
        return self._encoder.session_vectors(pad(asked, self._encoder.time_of).to(device))

    @staticmethod
    def _portions(asked: Sequence[Asked]) -> Iterator[slice]:
        """Cut windows into portions whose attention, a number for each two events, fits into the memory at hand."""
        longest = max([len(window.events) for window in asked], default=1)
        size = max(1, _PAIRS // max(1, longest) ** 2)
        for begin in range(0, len(asked), size):
            yield slice(begin, begin + size)

    @contextmanager
    def weights_at_rest(self) -> Iterator[None]:
        """Make the item vectors once, as the weights do not change in here: for a million items that takes time.

        The caller says so, as torch does not: its fused optimisers leave the tensors' version counters alone.
        """
        self._at_rest = True
        try:
            yield
        finally:
            self._at_rest, self._items = False, None

    def _item_vectors(self) -> torch.Tensor:
        items = self._encoder.item_vectors() if self._items is None else self._items
        if self._at_rest:
            self._items = items
        return items

    def _window_of(self, context: Context) -> Asked:
        start = (window_start if self._encoder.form == "step" else last_events)(len(context.events), self._window)
        return Asked(context.events.since(start), context.asked_ms)


def validation_figures(scorer: EncoderScorer, cases: Cases, *, exclude: Exclude, ks: Sequence[int]) -> dict[str, float]:
    """Return the figures of `serving.ranks.summary` at each k over the cases."""
    with scorer.weights_at_rest():
        return summary(evaluate_dense(scorer, cases, scorer.item_count, exclude=exclude).ranks, ks)
