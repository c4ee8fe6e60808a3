import pytest
from faust.types import TP

from stream.app import Application
from stream.transport.link import Link
from stream.transport.producer import OffsetReceipt, Outgoing
from tests.stream.bench import CHANGELOG, Bench, Written
from tests.stream.transport.reading import reading


def link(application: Application) -> Link:
    return Link(application.faust, "clicks", CHANGELOG)


def written(places: list[tuple[int, int]]) -> OffsetReceipt:
    """The receipt of records that were written at these partitions and offsets."""
    records = [Outgoing(CHANGELOG, b"k", b"v", partition) for partition, _ in places]
    receipt = OffsetReceipt(records, lambda done: None)
    for record, (_, offset) in zip(records, places, strict=True):
        receipt(None, Written(record, offset))
    return receipt


@pytest.mark.parametrize(
    ("known", "offsets", "follows"),
    [
        pytest.param(4, [5, 6, 7], 7, id="what follows"),
        pytest.param(4, [5], 5, id="one record"),
        pytest.param(-1, [0, 1], 1, id="the first of all"),
        pytest.param(4, [5, 7], None, id="somebody wrote in between"),
        pytest.param(4, [6, 7], None, id="somebody wrote before"),
        pytest.param(None, [5, 6], None, id="a partition that was not read"),
    ],
)
def test_the_table_holds_the_changelog_as_far_as_nobody_else_has_written(
    bench: Bench, known: int | None, offsets: list[int], follows: int | None
) -> None:
    tp, active = TP(CHANGELOG, 1), bench.application.faust.tables.recovery.active_offsets
    if known is not None:
        active[tp] = known
    found = link(bench.application).in_changelog(written([(1, offset) for offset in offsets]))
    assert found == ({} if follows is None else {1: follows})
    assert active.get(tp) == (known if follows is None else follows)


def test_what_somebody_wrote_is_never_passed_by(bench: Bench) -> None:
    tp, active = TP(CHANGELOG, 0), bench.application.faust.tables.recovery.active_offsets
    active[tp] = 4
    for offsets in ([5], [7], [8, 9], [10]):  # another worker's is at 6
        link(bench.application).in_changelog(written([(0, offset) for offset in offsets]))
    assert active[tp] == 5


def test_partitions_are_told_apart(bench: Bench) -> None:
    active = bench.application.faust.tables.recovery.active_offsets
    active |= {TP(CHANGELOG, 0): 9, TP(CHANGELOG, 1): 19}
    found = link(bench.application).in_changelog(written([(0, 10), (1, 21), (0, 11)]))
    assert found == {0: 11}


async def test_the_lag_is_what_waits_in_all_partitions_beyond_what_was_read(bench: Bench) -> None:
    clicks = [TP("clicks", partition) for partition in range(4)]
    bench.application.faust.consumer = reading(
        {clicks[0]: 20, clicks[1]: 0, clicks[2]: 5, clicks[3]: None, TP(CHANGELOG, 0): 0},
        ends={clicks[0]: 50, clicks[1]: 7, clicks[3]: 1_000_000, TP(CHANGELOG, 0): 1_000},
    )
    made = link(bench.application)
    assert made.lag() == 50 - 20 + 7  # where the fourth is read from is not known yet; most of it may be finished
    assert (made.log_end(0), made.log_end(2)) == (50, None)
