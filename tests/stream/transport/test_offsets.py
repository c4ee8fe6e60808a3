import pytest
from faust.types import TP

from stream.transport.offsets import lag, read_position
from tests.stream.bench import Bench
from tests.stream.transport.reading import reading

CLICKS = TP("clicks", 0)


@pytest.mark.parametrize(
    ("position", "read", "committed", "finished", "behind"),
    [
        pytest.param(20, 20, 20, None, 30, id="nothing read since the start"),
        pytest.param(40, 40, 20, 25, 25, id="what is in hand waits too"),
        pytest.param(50, 49, 49, 49, 0, id="a transaction's marker is no click"),
        pytest.param(50, 0, 0, None, 0, id="retention has emptied it, and nobody has read it"),
        pytest.param(50, 10, 10, None, 0, id="retention has removed what was not read"),
        pytest.param(30, 0, 0, None, 20, id="retention has removed its beginning"),
        pytest.param(None, 0, 0, None, None, id="not known yet"),
    ],
)
async def test_the_lag_of_a_partition_is_what_waits_in_it_and_what_is_in_hand(
    bench: Bench, position: int | None, read: int, committed: int, finished: int | None, behind: int | None
) -> None:
    app = bench.application.faust
    app.consumer = reading({CLICKS: position}, ends={CLICKS: 50}, read={CLICKS: read}, committed={CLICKS: committed})
    assert lag(app, "clicks", 0, finished) == behind


async def test_a_partition_that_is_not_ours_is_read_from_nowhere(bench: Bench) -> None:
    bench.application.faust.consumer = reading({CLICKS: 5}, ends={})
    assert read_position(bench.application.faust, "clicks", 0) == 5
    assert read_position(bench.application.faust, "clicks", 1) is None
