"""Which sessions a training keeps to prove its bundle by, and what of them."""

import dataclasses

import polars as pl
import pytest

from training.contents import golden_events
from training.data.log import make_log
from training.data.splits import Training
from training.prepared import Prepared, prepare_training

VIEWS, BUYS, LIKES = 60, [20, 40], 30


@pytest.fixture(scope="module")
def data(small_training: Training) -> Prepared:
    """Sixty sessions of views, in the first of which are most; two of them end with a buy, and one with a like."""
    rows = []
    for session in range(VIEWS):
        kinds = ["view"] * (9 if session == 0 else 2 + session % 3)
        kinds[-1] = "buy" if session in BUYS else "like" if session == LIKES else "view"
        for place, kind in enumerate(kinds):
            at_ms = 1_780_000_000_000 + 100_000 * session + 700 * place
            rows.append((f"s{session}", f"i{(session + place) % 7}", at_ms, kind))
    names = ["session_id", "item_id", "timestamp_ms", "event_type"]
    clicks = make_log(pl.DataFrame(rows, schema=names, orient="row"))
    return prepare_training(dataclasses.replace(small_training, clicks=clicks))


def test_golden_sessions_have_the_items_types_and_times_of_the_clicks(data: Prepared) -> None:
    frame = data.clicks.frame
    for session in golden_events(data):
        (session_id,) = frame.filter(pl.col("timestamp_ms") == session.times[0]).get_column("session_id")
        clicks = frame.filter(pl.col("session_id") == session_id)
        assert session.items == clicks.get_column("item_id").to_list()
        assert session.types == clicks.get_column("event_type").to_list()
        assert session.times == clicks.get_column("timestamp_ms").to_list()


@pytest.mark.parametrize("count", [4, 8])
def test_every_type_is_in_a_golden_session_and_the_longest_session_is_the_first(data: Prepared, count: int) -> None:
    chosen = data.varied(count)
    assert len(chosen) == count
    assert len(chosen[0]) == 9
    assert {number for session in chosen for number in session.types.tolist()} == {1, 2, 3}


def test_sessions_that_have_every_type_already_stay(data: Prepared) -> None:
    for count in (1, 2, VIEWS):
        assert len(data.varied(count)) == count
    spread = [session.times[0] for session in data.spread(VIEWS)]
    assert [session.times[0] for session in data.varied(VIEWS)] == spread
