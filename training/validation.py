"""Validation during training: dense scores in torch over the whole catalogue, ranks with ties counted against us.

It goes around index and encoder runtime to be quick; an evaluation of a bundle goes through them
(`nextclick evaluate`), and a test compares the two.

Shape suffixes, this file only:
    T predictions    B windows of a batch    L positions, oldest first, padded on the right    V catalogue + 1
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from serving import ranks as metrics
from serving.ranks import Ranks
from serving.settings import Exclude
from training.batches import pad
from training.data.sequences import Rows, Vocabulary, split_by_session, to_sequences, training_windows
from training.data.splits import HeldOut
from training.models import SessionEncoder

WINDOWS_PER_BATCH = 256
PREDICTIONS_PER_PRODUCT = 512
"""Rows of the score matrix at a time: 40 MB for 20,000 items."""


class _Window(NamedTuple):
    """A stretch of one session that is read in one go.

    `known` are the rows that the encoder reads; prediction i is made after `reads[i]` of them, for the event at
    `events[i]` of the session.
    """

    session: Rows
    known: Rows
    reads: list[int]
    events: list[int]


@dataclass(frozen=True)
class ValidationSet:
    """Sessions to predict. Unknown items are row 0: the encoder skips them, as a target they are misses."""

    windows: list[_Window]
    exclude: Exclude

    def __len__(self) -> int:
        return sum(len(window.events) for window in self.windows)


def make_validation(held_out: HeldOut, vocabulary: Vocabulary, *, window: int, exclude: Exclude) -> ValidationSet:
    """Cut held-out sessions into what a worker with this window would read before each of the targets."""
    frame = held_out.log.frame
    sessions = to_sequences(frame, vocabulary, keep_unknown=True)
    wanted = split_by_session(frame, held_out.targets.astype(np.int64))
    return ValidationSet([w for pair in zip(sessions, wanted, strict=True) for w in _cut(*pair, window)], exclude)


def _cut(session: Rows, wanted: Rows, length: int) -> Iterator[_Window]:
    for start, first, stop in training_windows(len(session), length):
        events = [event for event in range(first, stop) if wanted[event]]
        if events:
            known = session[start : stop - 1] > 0
            reads = np.cumsum(known)[np.array(events) - start - 1].tolist()
            yield _Window(session, session[start : stop - 1][known], reads, events)


def validation_ranks(encoder: SessionEncoder, validation: ValidationSet) -> Ranks:
    """Return the rank of each target, from 1; 0 where it cannot be in the list.

    That is where it is unknown, excluded, or no item of its session is known yet.
    """
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            items_VD = encoder.item_vectors()
            return np.concatenate(
                [np.zeros(0, dtype=np.int64)]
                + [
                    _ranks(encoder, items_VD, validation.windows[i : i + WINDOWS_PER_BATCH], validation.exclude)
                    for i in range(0, len(validation.windows), WINDOWS_PER_BATCH)
                ]
            )
    finally:
        encoder.train(was_training)


def validation_figures(encoder: SessionEncoder, validation: ValidationSet, k: int) -> dict[str, float]:
    """Return the figures of `serving.ranks.summary` at k."""
    return metrics.summary(validation_ranks(encoder, validation), k)


def _ranks(encoder: SessionEncoder, items_VD: Tensor, windows: Sequence[_Window], exclude: Exclude) -> Ranks:
    items_BL, lengths_B = pad([window.known for window in windows])
    vectors_BLD = encoder(items_BL, lengths_B)
    predictions = [
        (i, read, event) for i, w in enumerate(windows) for read, event in zip(w.reads, w.events, strict=True)
    ]
    ranks = []
    for begin in range(0, len(predictions), PREDICTIONS_PER_PRODUCT):
        part = predictions[begin : begin + PREDICTIONS_PER_PRODUCT]
        vectors_TD = vectors_BLD[[i for i, _, _ in part], [read - 1 for _, read, _ in part]]
        scores_TV = vectors_TD @ items_VD.T
        for row, (i, _, event) in enumerate(part):
            scores_TV[row, _excluded(windows[i].session[:event], exclude)] = -torch.inf
        targets_T = torch.tensor([int(windows[i].session[event]) for i, _, event in part])
        readable_T = torch.tensor([read > 0 for _, read, _ in part])
        ranks.append(pessimistic_ranks(scores_TV, torch.where(readable_T, targets_T, 0)))
    return np.concatenate(ranks)


def _excluded(history: Rows, exclude: Exclude) -> list[int]:
    """Return the rows that the list leaves out; padding always."""
    return [0, *{"none": [], "current": history[-1:].tolist(), "seen": history.tolist()}[exclude]]


def pessimistic_ranks(scores_TV: Tensor, targets_T: Tensor) -> Ranks:
    """Return the rank of each target among the scores, from 1, behind all that score the same.

    A target whose own score is -inf (padding, excluded) cannot be listed: rank 0.
    """
    own_T1 = scores_TV.gather(1, targets_T[:, None])
    ranks_T = (scores_TV >= own_T1).sum(dim=1)
    ranks: Ranks = torch.where(own_T1[:, 0].isneginf(), 0, ranks_T).numpy()
    return ranks
