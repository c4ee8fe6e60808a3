import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.session import window_start
from tests.training.conftest import as_rows
from training.batches import Batch, cut_windows, epoch_batches, make_batch, pad

sessions = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=25), min_size=1, max_size=8)


def _examples(batches: list[Batch]) -> list[tuple[tuple[int, ...], int]]:
    """Return what is learnt: for each target, the items read before it, and the target."""
    found = []
    for items, _, targets, mask in batches:
        for row, position in mask.nonzero().tolist():
            found.append((tuple(items[row, : position + 1].tolist()), int(targets[row, position])))
    return sorted(found)


@given(sessions=sessions, window=st.integers(2, 12), batch_targets=st.integers(1, 40), seed=st.integers(0, 9))
def test_each_click_but_the_first_is_a_target_once_after_what_a_worker_would_read(
    sessions: list[list[int]], window: int, batch_targets: int, seed: int
) -> None:
    windows = cut_windows(as_rows(sessions), window)
    expected = [
        (tuple(session[window_start(event, window) : event]), session[event])
        for session in sessions
        for event in range(1, len(session))
    ]
    batches = list(epoch_batches(windows, batch_targets, torch.Generator().manual_seed(seed))) if len(windows) else []
    assert _examples(batches) == sorted(expected)
    assert windows.targets == len(expected)


def test_a_batch_is_padded_on_the_right_and_says_what_counts() -> None:
    windows = cut_windows(as_rows([[1, 2, 3], [4, 5]]), window=10)
    items, lengths, targets, mask = make_batch(windows, np.array([0, 1]))
    assert items.tolist() == [[1, 2], [4, 0]]
    assert lengths.tolist() == [2, 1]
    assert targets.tolist() == [[2, 3], [5, 0]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_a_window_inside_a_session_reads_events_that_are_no_targets_of_its_own() -> None:
    # A worker with window 4 reads events 0-3 first; for the sixth click it starts anew at event 2.
    windows = cut_windows(as_rows([[1, 2, 3, 4, 5, 6]]), window=4)
    items, _, targets, mask = make_batch(windows, np.arange(len(windows)))
    assert items.tolist() == [[1, 2, 3, 4], [3, 4, 5, 0]]
    assert targets[mask].tolist() == [2, 3, 4, 5, 6]


def test_batches_hold_about_as_many_targets_as_asked() -> None:
    windows = cut_windows(as_rows([[1] * (2 + n % 7) for n in range(200)]), window=10)
    sizes = [int(batch.mask.sum()) for batch in epoch_batches(windows, 50, torch.Generator().manual_seed(0))]
    assert sum(sizes) == windows.targets
    # A window is never split, so a batch may be up to one window's six other targets larger.
    assert max(sizes) <= 50 + 6
    assert len(sizes) == pytest.approx(windows.targets / 50, abs=1)


def test_the_order_is_the_generators() -> None:
    windows = cut_windows(as_rows([[n % 9 + 1, 2] for n in range(100)]), window=10)

    def order(seed: int) -> list[int]:
        return [
            int(row[0])
            for batch in epoch_batches(windows, 7, torch.Generator().manual_seed(seed))
            for row in batch.items
        ]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_sessions_of_one_click_give_no_windows() -> None:
    assert len(cut_windows(as_rows([[3], [4]]), window=10)) == 0
    assert len(cut_windows([], window=10)) == 0


def test_an_empty_session_is_padded_to_one_position() -> None:
    items, lengths = pad(as_rows([[], [7, 8]]))
    assert items.tolist() == [[0, 0], [7, 8]]
    assert lengths.tolist() == [1, 2]
