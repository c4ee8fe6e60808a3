from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.catalogue import Catalogue
from training.data.cuts import HeldOut, leave_one_out, whole
from training.data.log import make_log
from training.evaluation import dense
from training.evaluation.cases import Context, build_cases
from training.evaluation.dense import evaluate_dense, pessimistic_ranks, top_rows


def held_out(*clicks: tuple[str, str]) -> HeldOut:
    frame = pl.DataFrame(clicks, schema=["session_id", "item_id"], orient="row").with_row_index("timestamp_ms")
    return whole(make_log(frame))


class Fixed:
    """Scores that are the same for every session: item 1 first, then 2, and so on; items of `equal` tie."""

    name = "fixed"

    def __init__(self, *values: float) -> None:
        self._values = np.array([0.0, *values])

    def scores(self, contexts: Sequence[Context]) -> np.ndarray:
        return np.tile(self._values, (len(contexts), 1))


CATALOGUE = Catalogue(["a", "b", "c", "d"])


def test_every_click_after_the_first_is_a_case_in_the_order_of_time() -> None:
    cases = build_cases(held_out(("s", "a"), ("t", "c"), ("s", "b"), ("t", "new"), ("s", "a"), ("t", "d")), CATALOGUE)
    assert cases.targets.tolist() == [2, 0, 1, 4]
    assert [context.events.rows[-1] for context in cases.contexts(0, 4)] == [1, 3, 2, 0]
    assert cases.click.tolist() == [2, 3, 4, 5]
    assert [context.events.rows.tolist() for context in cases.contexts(0, 4)] == [[1], [3], [1, 2], [3, 0]]


def test_leave_one_out_has_one_case_per_session_with_its_whole_history() -> None:
    log = held_out(("s", "a"), ("s", "b"), ("t", "c"), ("s", "c"), ("t", "d")).log
    cases = build_cases(leave_one_out(log).held_out, CATALOGUE)
    assert cases.targets.tolist() == [3]
    assert [context.events.rows.tolist() for context in cases.contexts(0, 1)] == [[1, 2]]


def test_ranks_by_hand_for_each_exclusion() -> None:
    cases = build_cases(held_out(("s", "a"), ("s", "b"), ("s", "c"), ("s", "a"), ("s", "a")), CATALOGUE)
    scorer = Fixed(4, 3, 2, 1)
    # Targets b, c, a, a; the items before each: a / a b / a b c / a b c a.
    expected = {"none": [2, 3, 1, 1], "current": [1, 2, 1, 0], "seen": [1, 1, 0, 0]}
    for exclude, ranks in expected.items():
        found = evaluate_dense(scorer, cases, 4, exclude=exclude, k=2)  # type: ignore[arg-type]
        assert found.ranks.tolist() == ranks, exclude
    assert found.top.tolist() == [[2, 3], [3, 4], [4, 0], [4, 0]]


def test_ties_are_counted_against_the_model() -> None:
    cases = build_cases(held_out(("s", "d"), ("s", "b")), CATALOGUE)
    assert evaluate_dense(Fixed(1, 1, 1, 1), cases, 4, exclude="none", k=4).ranks.tolist() == [4]
    assert evaluate_dense(Fixed(1, 1, 1, 1), cases, 4, exclude="current", k=4).ranks.tolist() == [3]


def test_without_k_there_are_ranks_and_no_lists() -> None:
    cases = build_cases(held_out(("s", "d"), ("s", "b")), CATALOGUE)
    found = evaluate_dense(Fixed(1, 2, 3, 4), cases, 4, exclude="none")
    assert found.ranks.tolist() == [3]
    assert found.top.shape == (1, 0)


def test_scores_that_are_no_numbers_count_against_the_model() -> None:
    cases = build_cases(held_out(("s", "d"), ("s", "b")), CATALOGUE)
    for values, rank in (((1, 5, np.nan, 2), 2), ((1, np.nan, 2, 3), 5), ((np.nan,) * 4, 5)):
        found = evaluate_dense(Fixed(*values), cases, 4, exclude="none", k=4)
        assert found.ranks.tolist() == [rank]
        assert len(set(found.top[0].tolist()) - {0}) == 4 - int(np.isnan(values).sum())


def test_scores_that_may_not_be_written_to_stay_as_they_are() -> None:
    class Constant(Fixed):
        def scores(self, contexts: Sequence[Context]) -> np.ndarray:
            return np.broadcast_to(self._values, (len(contexts), len(self._values)))

    cases = build_cases(held_out(("s", "a"), ("s", "b"), ("s", "a"), ("s", "c")), CATALOGUE)
    scorer = Constant(4, 3, 2, 1)
    assert evaluate_dense(scorer, cases, 4, exclude="seen").ranks.tolist() == [1, 0, 1]
    assert evaluate_dense(scorer, cases, 4, exclude="none").ranks.tolist() == [2, 1, 3]


def test_an_unknown_target_is_a_miss() -> None:
    cases = build_cases(held_out(("s", "a"), ("s", "new")), CATALOGUE)
    assert evaluate_dense(Fixed(1, 2, 3, 4), cases, 4, exclude="none", k=4).ranks.tolist() == [0]


SCORES = st.lists(
    st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0]), min_size=6, max_size=6), min_size=1, max_size=5
)


@given(SCORES, st.integers(1, 6))
def test_ranks_and_lists_equal_sorting(lines: list[list[float]], k: int) -> None:
    scores = np.array(lines)
    scores[:, 0] = -np.inf
    for target in range(1, 6):
        ranks = pessimistic_ranks(scores, np.full(len(lines), target))
        for line, rank in zip(scores, ranks, strict=True):
            worst_first = sorted(range(1, 6), key=lambda row, line=line: (-line[row], row == target))  # type: ignore[misc]
            assert rank == (0 if line[target] == -np.inf else worst_first.index(target) + 1)
    for line, best in zip(scores, top_rows(scores, k), strict=True):
        expected = sorted((row for row in range(1, 6) if line[row] > -np.inf), key=lambda row: (-line[row], row))
        assert [row for row in best.tolist() if row] == expected[:k]


@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([np.float32, np.float64]), st.integers(1, 2000))
def test_lists_over_many_blocks_equal_sorting(seed: int, k: int, kind: type, values: int) -> None:
    random = np.random.default_rng(seed)
    # From a few values (nearly all tie) to many, in a catalogue of 13 blocks and a rest, with some items left out.
    scores: np.ndarray = random.integers(0, values, (3, 64 * 13 + 7)).astype(kind)
    scores[random.random(scores.shape) < 0.1] = -np.inf
    scores[1, random.random(scores.shape[1]) < 0.995] = -np.inf
    scores[:, 0] = -np.inf
    for line, best in zip(scores, top_rows(scores, k), strict=True):
        order = np.lexsort((np.arange(len(line)), -line))
        expected = order[~np.isneginf(line[order])][:k].tolist()
        assert best.tolist() == expected + [0] * (k - len(expected))


def test_results_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    clicks = [(f"s{random.integers(5)}", str(random.choice(["a", "b", "c", "d", "new"]))) for _ in range(60)]
    cases = build_cases(held_out(*clicks), CATALOGUE)
    together = evaluate_dense(Fixed(1, 3, 2, 3), cases, 4, exclude="seen", k=3)
    monkeypatch.setattr(dense, "_BATCH_SCORES", 1)
    alone = evaluate_dense(Fixed(1, 3, 2, 3), cases, 4, exclude="seen", k=3)
    assert together.ranks.tolist() == alone.ranks.tolist()
    assert together.top.tolist() == alone.top.tolist()
