import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import DataError
from training.evaluation.bootstrap import intervals, paired_difference, resampled_means


def test_resamples_are_means_over_whole_clusters() -> None:
    # Two sessions: one case that gains 1, and three that gain 0. A resample takes two sessions.
    gains, clusters = np.array([[1.0], [0.0], [0.0], [0.0]]), np.array([7, 3, 3, 3])
    drawn = resampled_means(gains, clusters, resamples=4000, seed=1)[:, 0]
    assert set(drawn.tolist()) == {1.0, 1 / 4, 0.0}
    assert (drawn == 1 / 4).mean() == pytest.approx(1 / 2, abs=0.03)
    assert (drawn == 1).mean() == pytest.approx(1 / 4, abs=0.03)


def test_all_resamples_of_three_clusters_are_those_that_can_be_enumerated() -> None:
    sums, counts = np.array([1.0, 2.0, 0.5]), np.array([2, 3, 1])
    gains = np.concatenate([np.full(count, total / count) for total, count in zip(sums, counts, strict=True)])
    drawn = resampled_means(gains[:, None], np.repeat([0, 1, 2], counts), resamples=9000)[:, 0]
    picks = [list(pick) for pick in itertools.product(range(3), repeat=3)]
    expected = [sums[pick].sum() / counts[pick].sum() for pick in picks]
    assert drawn.mean() == pytest.approx(np.mean(expected), abs=0.005)
    assert set(drawn.round(9)) == set(np.round(expected, 9))


def test_an_interval_over_sessions_is_wider_than_one_over_predictions() -> None:
    # Each session's hundred predictions are alike, so there are 50 observations, not 5,000.
    random = np.random.default_rng(0)
    gains = np.repeat(random.random(50), 100)[:, None]
    [sessions] = intervals(gains, np.repeat(np.arange(50), 100))
    [predictions] = intervals(gains, np.arange(5000))
    assert sessions.high - sessions.low > 8 * (predictions.high - predictions.low)
    assert sessions.low < sessions.value < sessions.high
    assert sessions.high - sessions.low == pytest.approx(2 * 1.96 * gains.std() / np.sqrt(50), rel=0.15)


def test_intervals_hold_the_truth_about_nineteen_times_in_twenty() -> None:
    random, held = np.random.default_rng(0), 0
    for trial in range(200):
        tastes = random.normal(0.3, 0.1, 100)
        gains = np.repeat(tastes, 5)[:, None] + random.normal(0, 0.1, (500, 1))
        [interval] = intervals(gains, np.repeat(np.arange(100), 5), resamples=200, seed=trial)
        held += interval.low <= 0.3 <= interval.high
    assert 180 <= held <= 199


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    random = np.random.default_rng(0)
    base = random.random(1000)
    found = paired_difference(base + 0.01, base, np.arange(1000) // 4)
    assert found.difference.value == pytest.approx(0.01)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.01, 0.01))
    assert found.above == 1
    assert (found.a, found.b) == pytest.approx((base.mean() + 0.01, base.mean()))


def test_equal_models_are_never_above_each_other() -> None:
    gains = np.random.default_rng(0).random(100)
    assert paired_difference(gains, gains, np.arange(100)).above == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=30), st.integers(0, 5))
def test_names_of_clusters_do_not_matter_and_seeds_decide(cases: list[tuple[int, float]], seed: int) -> None:
    clusters, gains = np.array([c for c, _ in cases]), np.array([[gain] for _, gain in cases])
    one = resampled_means(gains, clusters, resamples=5, seed=seed)
    assert resampled_means(gains, 100 + 3 * clusters, resamples=5, seed=seed).tolist() == one.tolist()
    assert one.min() >= gains.min() - 1e-12
    assert one.max() <= gains.max() + 1e-12


def test_no_cases_are_an_error() -> None:
    with pytest.raises(DataError, match="there are no cases to draw samples from"):
        intervals(np.zeros((0, 1)), np.zeros(0, np.int64))
