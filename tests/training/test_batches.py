import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.encoders.events import AGE_RATIO
from serving.session import window_start
from tests.training.conftest import as_events
from training.batches import Asked, Batch, cut_windows, epoch_batches, make_batch, pad
from training.data.sequences import Events

sessions = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=25), min_size=1, max_size=8)


def _examples(batches: list[Batch]) -> list[tuple[tuple[int, ...], int]]:
    """Return what is learnt: for each target, the items read before it, and the target."""
    found = []
    for sessions, targets, mask in batches:
        for row, position in mask.nonzero().tolist():
            found.append((tuple(sessions.items[row, : position + 1].tolist()), int(targets[row, position])))
    return sorted(found)


@given(sessions=sessions, window=st.integers(2, 12), batch_targets=st.integers(1, 40), seed=st.integers(0, 9))
def test_each_click_but_the_first_is_a_target_once_after_what_a_worker_would_read(
    sessions: list[list[int]], window: int, batch_targets: int, seed: int
) -> None:
    windows = cut_windows(as_events(sessions), window)
    expected = [
        (tuple(session[window_start(event, window) : event]), session[event])
        for session in sessions
        for event in range(1, len(session))
    ]
    batches = list(epoch_batches(windows, batch_targets, torch.Generator().manual_seed(seed))) if len(windows) else []
    assert _examples(batches) == sorted(expected)
    assert windows.targets == len(expected)


def test_a_batch_is_padded_on_the_right_and_says_what_counts() -> None:
    windows = cut_windows(as_events([[1, 2, 3], [4, 5]]), window=10)
    sessions, targets, mask = make_batch(windows, np.array([0, 1]))
    assert sessions.items.tolist() == [[1, 2], [4, 0]]
    assert sessions.types.tolist() == [[1, 1], [1, 0]]
    assert sessions.lengths.tolist() == [2, 1]
    assert sessions.ages is None
    assert targets.tolist() == [[2, 3], [5, 0]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_a_window_inside_a_session_reads_events_that_are_no_targets_of_its_own() -> None:
    # A worker with window 4 reads events 0-3 first; for the sixth click it starts anew at event 2.
    windows = cut_windows(as_events([[1, 2, 3, 4, 5, 6]]), window=4)
    sessions, targets, mask = make_batch(windows, np.arange(len(windows)))
    assert sessions.items.tolist() == [[1, 2, 3, 4], [3, 4, 5, 0]]
    assert targets[mask].tolist() == [2, 3, 4, 5, 6]


def test_batches_hold_about_as_many_targets_as_asked() -> None:
    windows = cut_windows(as_events([[1] * (2 + n % 7) for n in range(200)]), window=10)
    sizes = [int(batch.mask.sum()) for batch in epoch_batches(windows, 50, torch.Generator().manual_seed(0))]
    assert sum(sizes) == windows.targets
    # A window is never split, so a batch may be up to one window's six other targets larger.
    assert max(sizes) <= 50 + 6
    assert len(sizes) == pytest.approx(windows.targets / 50, abs=1)


def test_the_order_is_the_generators() -> None:
    windows = cut_windows(as_events([[n % 9 + 1, 2] for n in range(100)]), window=10)

    def order(seed: int) -> list[int]:
        return [
            int(row[0])
            for batch in epoch_batches(windows, 7, torch.Generator().manual_seed(seed))
            for row in batch.sessions.items
        ]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_sessions_of_one_click_give_no_windows() -> None:
    assert len(cut_windows(as_events([[3], [4]]), window=10)) == 0
    assert len(cut_windows([], window=10)) == 0


def test_an_empty_session_is_padded_to_one_position() -> None:
    sessions = pad([Asked(events) for events in as_events([[], [7, 8]])])
    assert sessions.items.tolist() == [[0, 0], [7, 8]]
    assert sessions.lengths.tolist() == [1, 2]


# A minute is the eighth silence: not below 1, 2, 5, 10, 20, 30, 60 s. An hour is the fourteenth.
MINUTE, HOUR = 8, 14


def _timed(rows: list[int], times_s: list[int]) -> Events:
    numbers = np.array(rows, dtype=np.int64)
    return Events(numbers, numbers % 3, 1000 * np.array(times_s, dtype=np.int64))


def test_a_windows_first_event_has_no_silence_before_it_wherever_the_window_begins() -> None:
    session = _timed([1, 2, 3, 4, 5, 6], [0, 60, 120, 3720, 3780, 3840])
    windows = cut_windows([session], window=4)
    sessions, *_ = make_batch(windows, np.arange(len(windows)))
    assert sessions.types.tolist() == [[1, 2, 0, 1], [0, 1, 2, 0]]
    assert sessions.silences.tolist() == [[0, MINUTE, MINUTE, HOUR], [0, HOUR, MINUTE, 0]]


def test_unknown_items_are_not_read_and_end_no_silence() -> None:
    session = _timed([1, 0, 2], [0, 60, 3660])
    sessions = pad([Asked(session)])
    assert sessions.items.tolist() == [[1, 2]]
    assert sessions.silences.tolist() == [[0, HOUR]]


def test_ages_are_counted_at_the_newest_event_or_at_the_one_to_be_predicted() -> None:
    windows = cut_windows([_timed([1, 2, 3], [0, 100, 1000])], window=4)
    chosen = np.array([0])
    last = make_batch(windows, chosen, "last").sessions.ages
    query = make_batch(windows, chosen, "query").sessions.ages
    assert last is not None
    assert query is not None
    for (moment, event), age_s in {(0, 0): 0, (1, 0): 100, (1, 1): 0}.items():
        assert _bounds(last[0, moment, event]) <= age_s < _bounds(last[0, moment, event] + 1)
    for (moment, event), age_s in {(0, 0): 100, (1, 0): 1000, (1, 1): 900}.items():
        assert _bounds(query[0, moment, event]) <= age_s < _bounds(query[0, moment, event] + 1)


def _bounds(number: torch.Tensor) -> float:
    """Return the age in seconds from which on an age has this number."""
    return 0.0 if number == 0 else AGE_RATIO ** (int(number) - 1)


@given(rows=st.lists(st.integers(1, 9), min_size=2, max_size=9), gaps_s=st.lists(st.integers(0, 10**6), min_size=9))
def test_what_is_padded_for_a_query_is_what_was_trained_on(rows: list[int], gaps_s: list[int]) -> None:
    session = _timed(rows, np.cumsum(gaps_s)[: len(rows)].tolist())
    for time_of in ("none", "last", "query"):
        trained = make_batch(cut_windows([session], 20), np.array([0]), time_of).sessions
        asked = pad([Asked(session.before(len(rows) - 1), int(session.times[-1]))], time_of)
        for one, other in zip(trained, asked, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)  # type: ignore[arg-type]
