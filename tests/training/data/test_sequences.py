import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from serving.catalogue import Catalogue
from serving.session import window_start
from training.data.log import make_log
from training.data.sequences import (
    Window,
    build_catalogue,
    popularity,
    session_ends,
    to_sequences,
    training_windows,
)


def frame(rows: list[tuple[str, str]]) -> pl.DataFrame:
    clicks = pl.DataFrame(rows, schema=["session_id", "item_id"], orient="row").cast(pl.String)
    return make_log(clicks.with_row_index("timestamp_ms")).frame


def as_lists(sequences: list[np.ndarray]) -> list[list[int]]:
    return [rows.tolist() for rows in sequences]


def test_items_are_numbered_in_the_order_of_their_first_click() -> None:
    catalogue = build_catalogue(frame([("s", "z"), ("t", "a"), ("s", "z"), ("s", "m")]))
    assert catalogue.item_ids[1:] == ["z", "a", "m"]
    assert [catalogue.row(item) for item in ("z", "a", "m", "other")] == [1, 2, 3, 0]
    assert len(catalogue) == 3


def test_sessions_come_in_the_order_of_their_first_click_oldest_item_first() -> None:
    clicks = frame([("s", "z"), ("t", "a"), ("s", "m"), ("t", "z"), ("s", "a")])
    sequences = to_sequences(clicks, build_catalogue(clicks))
    assert as_lists(sequences) == [[1, 3, 2], [2, 1]]
    assert all(rows.dtype == np.int64 for rows in sequences)
    assert session_ends(clicks).tolist() == [4, 3]


def test_unknown_items_are_left_out_or_kept_as_row_zero() -> None:
    clicks = frame([("s", "x"), ("s", "a"), ("t", "x"), ("s", "b")])
    catalogue = Catalogue(["b", "a"])
    assert as_lists(to_sequences(clicks, catalogue)) == [[2, 1]]
    assert as_lists(to_sequences(clicks, catalogue, keep_unknown=True)) == [[0, 2, 1], [0]]


def test_a_log_without_clicks_gives_no_sequences() -> None:
    nothing = frame([])
    assert to_sequences(nothing, build_catalogue(nothing)) == []
    assert popularity([], 2).tolist() == [0, 0, 0]


def test_popularity_counts_clicks_and_leaves_padding_at_zero() -> None:
    assert popularity([np.array([0, 1, 2, 1]), np.array([1])], 3).tolist() == [0, 3, 1, 0]


def test_a_session_up_to_the_window_is_one_piece_and_a_longer_one_restarts_at_reset_points() -> None:
    assert training_windows(1, 4) == ()
    assert training_windows(5, 4) == (Window(0, 1, 5),)
    # After 5 clicks (L = 4) the newest multiple of 2 that leaves at least 2 is 2; after 6 and 7 it is 4; after 8, 6.
    assert training_windows(9, 4) == (Window(0, 1, 5), Window(2, 5, 6), Window(4, 6, 8), Window(6, 8, 9))


@given(st.integers(1, 200), st.integers(1, 20).map(lambda half: 2 * half))
def test_every_target_is_trained_once_from_the_start_that_a_worker_would_read_from(events: int, length: int) -> None:
    windows = training_windows(events, length)
    starts = {target: window.start for window in windows for target in range(window.first, window.stop)}
    assert sum(window.stop - window.first for window in windows) == events - 1
    assert starts == {target: window_start(target, length) for target in range(1, events)}
    assert all(window.stop - 1 - window.start <= length for window in windows)
