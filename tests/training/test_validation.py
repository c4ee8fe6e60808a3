from typing import Literal

import numpy as np
import pytest
import torch

from tests.training.conftest import as_events
from training.evaluation.cases import Cases, Context
from training.models import GRUConfig, build_encoder
from training.optimizer import OptimizerConfig, make_optimizer
from training.validation import EncoderScorer, validation_figures

POPULARITY = np.array([0, 5, 1, 3, 2, 4], dtype=np.float32)


def _scorer(window: int = 4) -> EncoderScorer:
    torch.manual_seed(0)
    return EncoderScorer(build_encoder(GRUConfig(dim=4, hidden=4, dropout=0.5), 5), window, POPULARITY)


def _contexts(sessions: list[list[int]]) -> list[Context]:
    return [Context(events, 60_000 * len(events)) for events in as_events(sessions)]


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=1e-6))


def test_unknown_items_are_not_read() -> None:
    scorer = _scorer(window=10)
    with_unknown, without = scorer.scores(_contexts([[0, 3, 0, 1, 0], [3, 1]]))
    assert _close(with_unknown, without)


def test_a_session_of_unknown_items_is_scored_by_popularity() -> None:
    unknown, known = _scorer().scores(_contexts([[0, 0], [2]]))
    assert unknown.tolist() == POPULARITY.tolist()
    assert not _close(known, POPULARITY)


def test_a_long_session_is_read_from_its_reset_point() -> None:
    # Window 4: the fifth event starts anew at event 2 of the session (counted from 0).
    long, tail = _scorer().scores(_contexts([[1, 2, 3, 4, 5], [3, 4, 5]]))
    assert _close(long, tail)


def test_scoring_leaves_the_encoder_in_training_mode_and_uses_no_dropout() -> None:
    scorer = _scorer()
    scorer._encoder.train()
    first, second = (scorer.scores(_contexts([[1, 2]])) for _ in range(2))
    assert np.array_equal(first, second)
    assert scorer._encoder.training


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_figures_follow_every_step_of_an_optimizer(kind: Literal["adam", "sgd"]) -> None:
    scorer = _scorer()
    optimizer = make_optimizer(OptimizerConfig(kind=kind, learning_rate=0.5), scorer._encoder, looks_up=False)
    contexts = _contexts([[1, 2], [4]])
    cases = Cases(as_events([[1, 2], [4, 3]]), np.array([0, 1]), np.array([1, 1]), np.array([1, 1]))
    for _ in range(3):
        before = scorer.scores(contexts)
        validation_figures(scorer, cases, exclude="none", ks=[2])
        optimizer.zero_grad()
        scorer._encoder.item_vectors().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step(0.5)
        with scorer.weights_at_rest():
            after = scorer.scores(contexts)
        assert not np.allclose(before, after)
        assert np.array_equal(after, EncoderScorer(scorer._encoder, 4, POPULARITY).scores(contexts))


def test_figures_are_those_of_the_scores() -> None:
    class Fixed(EncoderScorer):
        def scores(self, contexts: object) -> np.ndarray:
            return np.array([[0.0, 5, 4, 3, 2, 1]] * 2, dtype=np.float32)

    scorer = _scorer()
    fixed = Fixed(scorer._encoder, 4, POPULARITY)
    # Item 1 is current in both and so left out; item 2 is then first, item 4 third.
    cases = Cases(as_events([[1, 2], [1, 4]]), np.array([0, 1]), np.array([1, 1]), np.array([1, 3]))
    figures = validation_figures(fixed, cases, exclude="current", ks=[2])
    assert figures["hr@2"] == 1 / 2
    assert figures["mrr@2"] == (1 / 1 + 0) / 2
