import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from faust.types import TP

from serving.events import Click, decode_recommendation
from serving.recommender import Query, RankedList, Recommender
from serving.session import SessionState, decode_state, encode_state
from stream.contract import reasons
from stream.contract.dead_letter import TRUNCATED_FROM, Cause, read_cause
from stream.contract.specs import changelog_name
from stream.errors import Defect, PublishError, TopicError
from stream.metrics import STAGES
from stream.settings import Settings
from stream.state.table import APPLIED_OFFSET_HEADER, MARKER_KEY
from tests.stream.bench import CHANGELOG, MINUTE_MS, Bench

NewBench = Callable[..., Bench]
NOW_MS = 1_700_000_000_000


def click(number: int, session: str = "s1", item: str = "i1", at_ms: int = NOW_MS) -> Click:
    return Click(f"e{number}", session, item, at_ms)


async def until(effect: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not effect():
            await asyncio.sleep(0)


async def test_lists_then_states_then_memory_then_the_offset(bench: Bench) -> None:
    bench.wire.hold("recommendations")
    bench.wire.hold(CHANGELOG)
    shard = bench.application.table.shard(0)
    handling = asyncio.create_task(bench.application.pipeline.handle([bench.event(click(1), offset=7)]))

    await until(lambda: bench.wire.of("recommendations"))
    assert (bench.wire.of(CHANGELOG), b"s1" in shard, bench.inlet.acknowledged) == ([], False, [])
    bench.wire.release("recommendations")
    await until(lambda: len(bench.wire.of(CHANGELOG)) == 2)
    assert (b"s1" in shard, bench.inlet.acknowledged, handling.done()) == (False, [], False)
    bench.wire.release(CHANGELOG)
    await handling

    (published,) = bench.wire.of("recommendations")
    assert published.key == b"s1"
    assert published.value is not None
    assert decode_recommendation(published.value).trigger_event_id == "e1"
    state, marker = bench.wire.of(CHANGELOG)
    assert (state.key, state.partition, marker.key, marker.value) == (b"s1", 0, MARKER_KEY, b'{"topic_id":"topic-1"}')
    assert shard.get(b"s1") == state.value
    assert state.value is not None
    assert decode_state(state.value).applied_offset == 7
    assert bench.inlet.acknowledged == [(0, 7)]


@pytest.mark.parametrize("topic", ["recommendations", CHANGELOG, "dead-letters"])
async def test_what_kafka_refuses_is_neither_stored_nor_acknowledged(bench: Bench, topic: str) -> None:
    bench.wire.refused.add(topic)
    events = [bench.event(click(1), offset=0), bench.event(b"{", offset=1, key=b"s1")]
    with pytest.raises(PublishError, match=topic):
        await bench.application.pipeline.handle(events)
    assert bench.inlet.acknowledged == []
    assert len(bench.application.table.shard(0)) == 0


async def test_after_a_failure_the_agent_touches_nothing_more(bench: Bench) -> None:
    bench.wire.refused.add("recommendations")
    async with bench.application.agent.test_context() as agent:
        queue = agent.stream().channel.queue
        queue.put_nowait(bench.event(click(1), offset=0))
        await bench.application.failure.happened.wait()
        bench.wire.refused.clear()
        queue.put_nowait(bench.event(click(2), offset=1))
        await until(queue.empty)
    assert isinstance(bench.application.failure.error, PublishError)
    assert bench.inlet.acknowledged == []
    assert len(bench.wire.sent) == 1


async def test_an_event_that_is_read_again_is_acknowledged_and_changes_nothing(bench: Bench) -> None:
    await bench.application.pipeline.handle([bench.event(click(1), offset=0), bench.event(click(2), offset=1)])
    sent = list(bench.wire.sent)
    await bench.application.pipeline.handle([bench.event(click(1), offset=0), bench.event(click(2), offset=1)])
    assert bench.wire.sent == sent
    assert bench.inlet.acknowledged == [(0, 0), (0, 1)] * 2
    assert bench.sample("events_total", outcome="served") == 2
    assert bench.sample("events_total", outcome="replayed") == 2


async def test_a_dead_letter_carries_the_record_and_its_cause(bench: Bench) -> None:
    await bench.application.pipeline.handle([bench.event(b'{"event_id":', offset=3, partition=2, key=b"k")])
    (letter,) = bench.wire.of("dead-letters")
    assert (letter.key, letter.value) == (b"k", b'{"event_id":')
    cause = read_cause(letter.headers or [])
    assert cause is not None
    assert cause._replace(error="") == Cause(reasons.NOT_JSON, "", "clicks", 2, 3)
    assert bench.inlet.acknowledged == [(2, 3)]


async def test_a_dead_letter_that_kafka_could_not_take_is_cut_and_says_so(bench: Bench) -> None:
    value = b"x" * 1_048_000
    await bench.application.pipeline.handle([bench.event(value, offset=0, key=b"k")])
    (letter,) = bench.wire.of("dead-letters")
    assert letter.value is not None
    assert value.startswith(letter.value)
    assert 990_000 < len(letter.value) < 1_000_000
    assert dict(letter.headers or [])[TRUNCATED_FROM] == b"1048000"


class Fragile(Recommender):
    """Cannot make a list for some items, as a fault in it would have it."""

    fragile: frozenset[int]

    def recommend(self, queries: Any) -> list[RankedList]:
        if any(self._breaks(query) for query in queries):
            raise ZeroDivisionError("a fault")
        return super().recommend(queries)

    def _breaks(self, query: Query) -> bool:
        return query.current in self.fragile


@pytest.fixture
def fragile(bench: Bench) -> Callable[..., Fragile]:
    healthy = bench.application.computer._recommender

    def make(*rows: int) -> Fragile:
        recommender = Fragile(healthy.bundle, healthy.settings)
        recommender.fragile = frozenset(rows)
        return recommender

    return make


async def test_the_event_that_breaks_processing_dies_and_the_others_are_served_as_without_it(
    bench: Bench, new_bench: NewBench, fragile: Callable[..., Fragile]
) -> None:
    broken = new_bench(fragile(13, 14))
    clicks = [click(n, f"s{n % 3}", f"i{n}") for n in range(1, 30)]
    await broken.application.pipeline.handle([broken.event(each, offset=n) for n, each in enumerate(clicks)])
    healthy = [(n, each) for n, each in enumerate(clicks) if each.item_id not in {"i13", "i14"}]
    await bench.application.pipeline.handle([bench.event(each, offset=n) for n, each in healthy])

    assert broken.wire.of("recommendations") == bench.wire.of("recommendations")
    assert broken.wire.of(CHANGELOG) == bench.wire.of(CHANGELOG)
    causes = [read_cause(letter.headers or []) for letter in broken.wire.of("dead-letters")]
    assert causes == [
        Cause(reasons.PROCESSING_FAILED, "ZeroDivisionError: a fault", "clicks", 0, offset) for offset in (12, 13)
    ]
    assert len(broken.inlet.acknowledged) == len(clicks)


async def test_a_recommender_that_makes_no_list_at_all_ends_the_process_instead_of_every_event(
    new_bench: NewBench, fragile: Callable[..., Fragile]
) -> None:
    bench = new_bench(fragile(*range(60)))
    with pytest.raises(Exception, match="makes no list, not even for its first item"):
        await bench.application.pipeline.handle([bench.event(click(1), offset=0)])
    assert bench.wire.sent == []
    assert bench.inlet.acknowledged == []


async def test_the_time_of_every_stage_is_told(bench: Bench) -> None:
    await bench.application.pipeline.handle([bench.event(click(1), offset=0)])
    value = bench.metrics.registry.get_sample_value
    names = [f"nextclick_serving_{part}_seconds" for part in ("encode", "search")]
    process = value("nextclick_stream_stage_seconds_sum", {"stage": "process"}) or 0.0
    assert [value(f"{name}_count") for name in names] == [1, 1]
    assert 0 < sum(value(f"{name}_sum") or 0.0 for name in names) < process
    assert all(bench.sample("stage_seconds_count", stage=stage) == 1 for stage in STAGES)


async def test_a_session_in_two_partitions_is_two_sessions(bench: Bench) -> None:
    events = [bench.event(click(n, item=f"i{n}"), offset=n // 2, partition=n % 2) for n in range(6)]
    await bench.application.pipeline.handle(events)
    table = bench.application.table
    counts = [decode_state(table.shard(partition).get(b"s1") or b"").count for partition in (0, 1)]
    assert counts == [3, 3]
    assert bench.sample("misrouted_keys_total") >= 1
    assert bench.sample("events_total", outcome="served") == 6


async def test_silent_sessions_leave_the_changelog_and_memory_once_their_events_are_committed(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)
    bench = new_bench()
    handle, shard = bench.application.pipeline.handle, bench.application.table.shard(0)
    await handle([bench.event(click(1, "old"), offset=0), bench.event(click(2, "far", at_ms=NOW_MS), offset=1)])
    later = NOW_MS + 32 * MINUTE_MS
    await handle([bench.event(click(3, "new", at_ms=later), offset=2)])
    assert b"old" in shard  # its click is not committed, and may be read again

    bench.inlet.committed[TP("clicks", 0)] = 2
    await handle([bench.event(click(4, "new", at_ms=later), offset=3)])
    tombstones = {record.key: record for record in bench.wire.of(CHANGELOG) if record.value is None}
    assert set(tombstones) == {b"old", b"far"}
    assert tombstones[b"old"].headers == [(APPLIED_OFFSET_HEADER, b"0")]
    assert (b"old" in shard, b"new" in shard) == (False, True)
    assert bench.sample("expired_sessions_total") == 2


async def test_a_quiet_partition_expires_too_when_the_batch_that_looks_has_no_event_of_it(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench()
    handle, table = bench.application.pipeline.handle, bench.application.table
    later = NOW_MS + 32 * MINUTE_MS
    await handle([bench.event(click(n, f"old{n}"), offset=0, partition=n) for n in (0, 1)])
    await handle([bench.event(click(n, f"new{n}", at_ms=later), offset=1, partition=n) for n in (0, 1)])
    bench.inlet.committed |= {TP("clicks", 0): 2, TP("clicks", 1): 2}
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)
    await handle([bench.event(click(4, "new0", at_ms=later), offset=2, partition=0)])
    assert [(f"old{n}".encode() in table.shard(n), f"new{n}".encode() in table.shard(n)) for n in (0, 1)] == [
        (False, True)
    ] * 2


async def test_a_session_that_comes_back_while_its_tombstone_is_written_stays(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench()
    handle, shard = bench.application.pipeline.handle, bench.application.table.shard(0)
    await handle([bench.event(click(1, "old"), offset=0), bench.event(click(2, "gone"), offset=1)])
    bench.inlet.committed[TP("clicks", 0)] = 2
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)
    bench.wire.hold(CHANGELOG)
    later = bench.event(click(3, "new", at_ms=NOW_MS + 32 * MINUTE_MS), offset=2)
    handling = asyncio.create_task(handle([later]))
    await until(lambda: bench.wire.of(CHANGELOG)[-1].key == b"new")
    bench.wire.release(CHANGELOG)
    bench.wire.hold(CHANGELOG)
    await until(lambda: bench.wire.of(CHANGELOG)[-1].value is None)
    # A rebalance may bring a newer state, of a worker that had the partition meanwhile.
    shard.recover(b"old", encode_state(SessionState(applied_offset=9, seen_ms=NOW_MS)))
    assert bench.inlet.acknowledged == [(0, 0), (0, 1)]  # a rebalance waits for the batch, and so for the tombstones
    bench.wire.release(CHANGELOG)
    await handling
    assert (b"old" in shard, b"gone" in shard) == (True, False)
    assert bench.sample("expired_sessions_total") == 1
    assert bench.inlet.acknowledged == [(0, 0), (0, 1), (0, 2)]


async def test_a_partition_that_goes_while_others_expire_gets_no_tombstones(
    new_bench: NewBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench()
    handle, table = bench.application.pipeline.handle, bench.application.table
    later = NOW_MS + 32 * MINUTE_MS
    await handle([bench.event(click(n, f"old{n}"), offset=0, partition=n) for n in (0, 1)])
    await handle([bench.event(click(n, f"new{n}", at_ms=later), offset=1, partition=n) for n in (0, 1)])
    bench.inlet.committed |= {TP("clicks", 0): 2, TP("clicks", 1): 2}
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)
    bench.wire.hold(CHANGELOG)
    handling = asyncio.create_task(handle([bench.event(b"{", offset=2, key=b"k")]))
    await until(lambda: bench.wire.of(CHANGELOG)[-1].value is None)
    table.forget([1])
    bench.wire.release(CHANGELOG)
    await handling
    assert [record.key for record in bench.wire.of(CHANGELOG) if record.value is None] == [b"old0"]


async def test_a_record_without_a_brokers_timestamp_has_an_age_and_no_latency(bench: Bench) -> None:
    event = bench.event(click(1), offset=0)
    event.message.timestamp = None
    await bench.application.pipeline.handle([event])
    assert bench.sample("event_to_recommendation_seconds_count") == 0
    assert bench.sample("event_age_seconds_count") == 1


async def test_an_error_that_nobody_expects_names_the_events_in_hand(bench: Bench) -> None:
    async with bench.application.agent.test_context() as agent:
        event = bench.event(click(1), offset=7, partition=2)
        event.message.key = 5  # what no Kafka gives
        agent.stream().channel.queue.put_nowait(event)
        await bench.application.failure.happened.wait()
    error = bench.application.failure.error
    assert isinstance(error, Defect)
    assert "at clicks partition 2 offset 7; nothing of what was in hand is committed" in str(error)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (MARKER_KEY, b"{", "no worker wrote it"),
        (MARKER_KEY, b'{"topic": "t"}', "no worker wrote it"),
        (b"s1", bytes([99]), "format 99"),
    ],
)
async def test_a_changelog_that_cannot_be_read_says_where(
    bench: Bench, key: bytes, value: bytes, sentence: str
) -> None:
    table = bench.application.table
    table._new_store().apply_changelog_batch([bench.event(value, offset=4, partition=1, key=key)], None, None)
    error = str(bench.application.failure.error)
    assert sentence in error
    assert "partition 1 offset 4" in error


async def test_states_of_another_topic_with_the_same_name_end_the_process(bench: Bench) -> None:
    table = bench.application.table
    table.apply(bench.event(b'{"topic_id": "topic-0"}', offset=0, key=MARKER_KEY).message)
    await table.recovery_ends({0})
    assert isinstance(bench.application.failure.error, TopicError)
    assert "topic-0" in str(bench.application.failure.error)


def test_the_tables_changelog_is_the_one_that_is_made_for_it(bench: Bench) -> None:
    assert bench.application.table.changelog_topic_name == changelog_name(Settings())
