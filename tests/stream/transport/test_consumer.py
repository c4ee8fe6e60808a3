from typing import Any

import pytest
from faust.types import TP

from stream.transport.consumer import Consumer
from stream.transport.offsets import committed_offset
from tests.stream.bench import Bench

CLICKS = TP("clicks", 0)


class Thread:
    """Takes the place of the connection, with aiokafka's consumer."""

    def __init__(self, *, takes_commits: bool) -> None:
        self.takes_commits = takes_commits
        self.asked: list[dict[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {CLICKS}

    async def commit(self, offsets: dict[TP, int]) -> bool:
        self.asked.append(offsets)
        return self.takes_commits


def consumer(bench: Bench, thread: Any) -> Consumer:
    async def nothing(*_: Any) -> None: ...

    app = bench.application.faust
    made = Consumer(app.transport, nothing, nothing, nothing)
    made._thread, app.consumer = thread, made
    return made


@pytest.mark.parametrize(("taken", "noted"), [(True, 12), (False, 0)])
async def test_an_offset_counts_as_committed_when_kafka_has_taken_it(bench: Bench, taken: bool, noted: int) -> None:
    thread = Thread(takes_commits=taken)
    assert await consumer(bench, thread)._commit_offsets({CLICKS: 12, TP("clicks", 3): 5}) is taken
    assert thread.asked == [{CLICKS: 12}]  # the other partition is another worker's
    assert committed_offset(bench.application.faust, "clicks", 0) == noted


async def test_nothing_is_committed_for_partitions_that_are_gone(bench: Bench) -> None:
    thread = Thread(takes_commits=True)
    assert not await consumer(bench, thread)._commit_offsets({TP("clicks", 3): 5})
    assert thread.asked == []
