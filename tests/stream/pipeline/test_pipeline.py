import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from faust.types import TP

from serving.events import decode_recommendation
from serving.recommender import RankedList, Recommender
from serving.session import Moment, SessionState, decode_state, encode_state
from stream.contract import reasons
from stream.contract.dead_letter import TRUNCATED_FROM, Cause, read_cause
from stream.contract.specs import changelog_name
from stream.errors import Defect, PublishError, TopicError
from stream.metrics import STAGES
from stream.settings import Settings
from stream.state.table import APPLIED_OFFSET_HEADER, MARKER_KEY
from tests.stream.bench import CHANGELOG, MINUTE_MS, NOW_MS, Bench, click, many_turns, until

NewBench = Callable[..., Bench]


async def test_lists_then_states_then_memory_then_the_offset(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold("recommendations")
    bench.wire.hold(CHANGELOG)
    shard = bench.application.table.shard(0)
    await bench.accept([bench.record(click(1), offset=7)])

    await many_turns()
    assert (len(bench.wire.lists), bench.wire.states, b"s1" in shard, bench.finished[0]) == (1, [], False, 1)
    bench.wire.release("recommendations")
    await many_turns()
    assert (len(bench.wire.states), b"s1" in shard, bench.finished[0]) == (1, False, 1)
    bench.wire.release(CHANGELOG)

    (published,) = bench.wire.lists
    assert published.key == b"s1"
    assert published.value is not None
    assert decode_recommendation(published.value).trigger_event_id == "e1"
    (state,) = bench.wire.states
    assert (state.key, state.partition) == (b"s1", 0)
    assert shard.get(b"s1") == state.value
    assert state.value is not None
    assert decode_state(state.value).applied_offset == 7
    assert bench.finished[0] == 8


async def test_each_partition_gets_the_marker_once(bench: Bench) -> None:
    await bench.serve([bench.record(click(1), offset=0)])
    await bench.serve([bench.record(click(2), offset=1), bench.record(click(3, "s2"), offset=0, partition=1)])
    markers = [record for record in bench.wire.of(CHANGELOG) if record.key == MARKER_KEY]
    assert [(marker.partition, marker.value) for marker in markers] == [(n, b'{"topic_id":"topic-1"}') for n in (0, 1)]


@pytest.mark.parametrize("topic", ["recommendations", CHANGELOG, "dead-letters"])
async def test_what_kafka_refuses_is_neither_stored_nor_finished(bench: Bench, topic: str) -> None:
    await bench.begin()
    bench.wire.refused.add(topic)
    await bench.serve([bench.record(click(1), offset=1), bench.record(b"{", offset=2, key=b"s1")])
    assert isinstance(bench.failure, PublishError)
    assert topic in str(bench.failure)
    assert bench.finished[0] == 1
    assert len(bench.application.table.shard(0)) == 0


async def test_after_a_failure_nothing_more_is_begun_and_whoever_waits_goes_when_the_partitions_do(
    bench: Bench,
) -> None:
    await bench.begin()
    bench.wire.refused.add("recommendations")
    await bench.serve([bench.record(click(1), offset=1)])
    bench.wire.refused.clear()
    ours = True
    accepting = asyncio.create_task(bench.accept([bench.record(click(2), offset=2)], lambda: ours))
    await many_turns()
    assert isinstance(bench.failure, PublishError)
    assert (bench.finished[0], len(bench.wire.sent), accepting.done()) == (1, 1, False)
    ours = False
    await asyncio.wait_for(accepting, 10)
    assert len(bench.wire.sent) == 1


async def test_abandoned_work_begins_nothing_and_lets_nobody_wait(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(1), offset=1)])
    settling = asyncio.create_task(bench.application.pipeline.settle())
    await many_turns()
    assert not settling.done()
    bench.application.pipeline.abandon(PublishError("refused"))
    await asyncio.wait_for(settling, 10)
    bench.wire.release("recommendations")
    await many_turns()
    assert (bench.wire.states, bench.finished[0]) == ([], 1)


async def test_states_wait_to_be_written_together_unless_somebody_waits_for_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.begin()
    monkeypatch.setattr("stream.pipeline.pipeline.STORE_EVERY_S", 3_600.0)
    for number in (1, 2, 3):
        await bench.accept([bench.record(click(number), offset=number)])
        await many_turns()
    assert (len(bench.wire.lists), bench.wire.states) == (3, [])
    async with asyncio.timeout(10):
        await asyncio.gather(bench.application.pipeline.settle(), bench.application.pipeline.settle())
    assert (len(bench.wire.states), bench.finished[0]) == (1, 4)


async def test_an_event_that_is_read_again_is_finished_and_changes_nothing(bench: Bench) -> None:
    events = [bench.record(click(1), offset=0), bench.record(click(2), offset=1)]
    await bench.serve(events)
    lists, states = bench.wire.lists, bench.wire.states
    await bench.application.pipeline.release()
    await bench.serve(events)
    assert (bench.wire.lists, bench.wire.states) == (lists, states)
    assert bench.finished == {0: 2}
    assert bench.sample("events_total", outcome="served") == 2
    assert bench.sample("events_total", outcome="replayed") == 2


async def test_a_dead_letter_carries_the_record_and_its_cause(bench: Bench) -> None:
    await bench.serve([bench.record(b'{"event_id":', offset=3, partition=2, key=b"k", headers=(("h", b"v"),))])
    (letter,) = bench.wire.of("dead-letters")
    assert (letter.key, letter.value) == (b"k", b'{"event_id":')
    assert dict(letter.headers or [])["h"] == b"v"
    cause = read_cause(letter.headers or [])
    assert cause is not None
    assert cause._replace(error="") == Cause(reasons.NOT_JSON, "", "clicks", 2, 3)
    assert bench.finished == {2: 4}


async def test_a_dead_letter_that_kafka_could_not_take_is_cut_and_says_so(bench: Bench) -> None:
    value = b"x" * 1_048_000
    await bench.serve([bench.record(value, offset=0, key=b"k")])
    (letter,) = bench.wire.of("dead-letters")
    assert letter.value is not None
    assert value.startswith(letter.value)
    assert 990_000 < len(letter.value) < 1_000_000
    assert dict(letter.headers or [])[TRUNCATED_FROM] == b"1048000"


class Fragile(Recommender):
    """Cannot make a list for some items, as a fault in it would have it."""

    fragile: frozenset[int]

    def recommend(self, moments: Sequence[Moment], *vectors: Any) -> list[RankedList]:
        if any(moment.row in self.fragile for moment in moments):
            raise ZeroDivisionError("a fault")
        return super().recommend(moments, *vectors)


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
    await broken.serve([broken.record(each, offset=n) for n, each in enumerate(clicks)])
    healthy = [(n, each) for n, each in enumerate(clicks) if each.item_id not in {"i13", "i14"}]
    await bench.serve([bench.record(each, offset=n) for n, each in healthy])

    assert broken.wire.lists == bench.wire.lists
    assert broken.wire.states == bench.wire.states
    causes = [read_cause(letter.headers or []) for letter in broken.wire.of("dead-letters")]
    assert causes == [
        Cause(reasons.PROCESSING_FAILED, "ZeroDivisionError: a fault", "clicks", 0, offset) for offset in (12, 13)
    ]
    assert broken.finished == {0: len(clicks)}


async def test_a_recommender_that_makes_no_list_at_all_ends_the_process_instead_of_every_event(
    new_bench: NewBench, fragile: Callable[..., Fragile]
) -> None:
    bench = new_bench(fragile(*range(60)))
    await bench.accept([bench.record(click(1), offset=0)])
    assert "makes no list, not even for its first item" in str(bench.failure)
    assert (bench.wire.lists, bench.wire.of("dead-letters"), bench.finished) == ([], [], {})


async def test_the_time_of_every_stage_is_told(bench: Bench) -> None:
    await bench.serve([bench.record(click(1), offset=0)])
    value = bench.metrics.registry.get_sample_value
    names = [f"nextclick_serving_{part}_seconds" for part in ("encode", "search")]
    process = value("nextclick_stream_stage_seconds_sum", {"stage": "process"}) or 0.0
    assert [value(f"{name}_count") for name in names] == [1, 1]
    assert 0 < sum(value(f"{name}_sum") or 0.0 for name in names) < process
    assert all(bench.sample("stage_seconds_count", stage=stage) == 1 for stage in STAGES)


async def test_a_session_in_two_partitions_is_two_sessions(bench: Bench) -> None:
    events = [bench.record(click(n, item=f"i{n}"), offset=n // 2, partition=n % 2) for n in range(6)]
    await bench.serve(events)
    table = bench.application.table
    counts = [decode_state(table.shard(partition).get(b"s1") or b"").count for partition in (0, 1)]
    assert counts == [3, 3]
    assert bench.sample("misrouted_keys_total") >= 1
    assert bench.sample("events_total", outcome="served") == 6


async def test_a_record_without_a_brokers_timestamp_has_an_age_and_no_latency(bench: Bench) -> None:
    await bench.serve([bench.record(click(1), offset=0, timestamp_ms=-1)])
    assert bench.sample("event_to_recommendation_seconds_count") == 0
    assert bench.sample("event_age_seconds_count") == 1


async def test_an_error_that_nobody_expects_names_the_events_in_hand(bench: Bench) -> None:
    await bench.accept([bench.record(click(1), offset=7, partition=2, key=5)])  # what no Kafka gives
    assert isinstance(bench.failure, Defect)
    assert "at clicks partition 2 offset 7; nothing of what was in hand is committed" in str(bench.failure)


# --- batches that overlap


async def test_a_batch_goes_out_while_the_one_before_is_on_its_way_and_builds_on_it(
    bench: Bench, new_bench: NewBench
) -> None:
    clicks = [click(n, item=f"i{n}") for n in (1, 2, 3)]
    one_by_one = new_bench()
    for n, each in enumerate(clicks):
        await one_by_one.serve([one_by_one.record(each, offset=n + 1)])

    await bench.begin()
    bench.wire.hold(CHANGELOG)
    await bench.accept([bench.record(clicks[0], offset=1)])
    await until(lambda: bench.wire.states)
    bench.wire.hold("recommendations")
    for n in (1, 2):
        await bench.accept([bench.record(clicks[n], offset=n + 1)])
    assert bench.wire.lists == one_by_one.wire.lists
    assert (bench.finished[0], len(bench.application.table.shard(0))) == (1, 0)

    bench.wire.release("recommendations")
    bench.wire.release(CHANGELOG)
    await bench.application.pipeline.settle()
    assert bench.finished[0] == 4
    assert bench.application.table.state_of(0, b"s1") == one_by_one.application.table.state_of(0, b"s1")


async def test_batches_that_arrived_together_are_written_as_one_with_each_sessions_newest_state(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold(CHANGELOG)
    await bench.accept([bench.record(click(1, "first"), offset=1)])
    await until(lambda: bench.wire.states)
    for n in range(2, 8):
        await bench.accept([bench.record(click(n, f"s{n % 2}"), offset=n)])
    await many_turns()
    assert (len(bench.wire.lists), len(bench.wire.states)) == (7, 1)
    bench.wire.release(CHANGELOG)
    await bench.application.pipeline.settle()
    written = [(record.key, decode_state(record.value or b"").applied_offset) for record in bench.wire.states[1:]]
    assert sorted(written) == [(b"s0", 6), (b"s1", 7)]
    assert bench.finished[0] == 8
    assert bench.sample("batch_events_count") == 1 + 7


async def test_what_arrives_early_waits_for_what_was_read_before_it(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(1, "a"), offset=1)])
    await bench.accept([bench.record(click(2, "b"), offset=2), bench.record(click(3, "c"), offset=1, partition=1)])
    first, *second = bench.wire.held["recommendations"]
    for report in second:
        report()
    await many_turns()
    assert (bench.wire.states, bench.finished) == ([], {0: 1, 1: 1})
    first()
    await bench.application.pipeline.settle()
    assert bench.finished == {0: 3, 1: 2}


async def test_a_batch_without_a_list_waits_for_the_one_before_it_too(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(1), offset=1)])
    await bench.accept([bench.record(click(1), offset=2)])  # the same event, sent twice
    await many_turns()
    assert (bench.wire.states, bench.finished[0]) == ([], 1)
    bench.wire.release("recommendations")
    await bench.application.pipeline.settle()
    assert bench.finished[0] == 3
    assert [bench.sample("events_total", outcome=outcome) for outcome in ("served", "duplicate")] == [1, 1]
    assert len(bench.wire.lists) == 1


async def test_no_more_is_taken_when_enough_is_on_its_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.pipeline.pipeline.MAX_IN_FLIGHT", 3)
    await bench.begin()
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(n), offset=n) for n in (1, 2)])
    await bench.accept([bench.record(click(n), offset=n) for n in (3, 4)])
    accepting = asyncio.create_task(bench.accept([bench.record(click(5), offset=5)]))
    await many_turns()
    assert (len(bench.wire.lists), accepting.done()) == (4, False)
    bench.wire.release("recommendations", 2)
    await asyncio.wait_for(accepting, 10)
    assert len(bench.wire.lists) == 5


async def test_a_large_batch_is_computed_beside_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.begin()
    gate = threading.Event()
    bench.application.pipeline._executor.submit(gate.wait)
    monkeypatch.setattr("stream.pipeline.pipeline.INLINE_S", 0.0)
    large = [bench.record(click(n, f"s{n}"), offset=n + 1) for n in range(20)]
    accepting = asyncio.create_task(bench.accept(large))
    await many_turns()
    assert (accepting.done(), bench.wire.sent) == (False, [])
    gate.set()
    await asyncio.wait_for(accepting, 10)
    assert len(bench.wire.lists) == len(large)


# --- overload


async def test_with_latest_the_newest_list_names_the_clicks_that_it_answers_too(new_bench: NewBench) -> None:
    bench = new_bench(overload={"emit": "latest"})
    await bench.serve([bench.record(click(n, item=f"i{n}"), offset=n) for n in (1, 2, 3)])
    (published,) = bench.wire.lists
    found = decode_recommendation(published.value or b"")
    assert (found.trigger_event_id, found.supersedes) == ("e3", ["e1", "e2"])
    assert decode_state(bench.application.table.state_of(0, b"s1") or b"").count == 3
    assert [bench.sample("events_total", outcome=outcome) for outcome in ("served", "superseded")] == [1, 2]
    assert bench.finished == {0: 4}


async def test_a_click_that_is_too_old_joins_its_session_and_gets_no_list(new_bench: NewBench) -> None:
    bench = new_bench(overload={"max_age_s": 60})
    now_ms = int(time.time() * 1000)
    await bench.serve(
        [
            bench.record(click(1, at_ms=now_ms), offset=1, timestamp_ms=now_ms - 61_000),
            bench.record(click(2, at_ms=now_ms), offset=2, timestamp_ms=now_ms),
        ]
    )
    (published,) = bench.wire.lists
    assert decode_recommendation(published.value or b"").trigger_event_id == "e2"
    assert decode_state(bench.application.table.state_of(0, b"s1") or b"").count == 2
    assert [bench.sample("events_total", outcome=outcome) for outcome in ("served", "too_old")] == [1, 1]
    assert bench.finished == {0: 3}


async def test_clicks_are_shed_while_too_many_wait(new_bench: NewBench) -> None:
    bench = new_bench(overload={"shed_above_lag": 10})
    bench.inlet.ends[TP("clicks", 0)] = 11
    await bench.serve([bench.record(click(1), offset=1)])
    bench.inlet.ends[TP("clicks", 0)] = 10
    await bench.serve([bench.record(click(2), offset=2)])
    assert [bench.sample("lists_total", source=source) for source in ("shed", "encoder")] == [1, 1]


# --- whose partitions they are


async def test_without_a_heartbeat_nothing_is_produced_and_with_one_again_it_goes_on(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(1), offset=1)])
    bench.inlet.lose_heartbeats()
    bench.wire.release("recommendations")
    accepting = asyncio.create_task(bench.accept([bench.record(click(2), offset=2)]))
    await many_turns()
    assert (len(bench.wire.sent), accepting.done()) == (1, False)
    bench.inlet.heartbeat()
    await asyncio.wait_for(accepting, 10)
    await bench.application.pipeline.settle()
    assert bench.finished[0] == 3


async def test_what_was_computed_while_the_heartbeats_stopped_is_not_produced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.begin()
    gate = threading.Event()
    bench.application.pipeline._executor.submit(gate.wait)
    monkeypatch.setattr("stream.pipeline.pipeline.INLINE_S", 0.0)
    large = [bench.record(click(n, f"s{n}"), offset=n + 1) for n in range(20)]
    accepting = asyncio.create_task(bench.accept(large))
    await many_turns()
    bench.inlet.lose_heartbeats()
    gate.set()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(accepting), 0.1)
    assert bench.wire.sent == []
    bench.inlet.heartbeat()
    await asyncio.wait_for(accepting, 10)
    assert len(bench.wire.lists) == len(large)


async def test_what_was_computed_while_the_partitions_went_is_dropped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.begin()
    gate, ours = threading.Event(), True
    bench.application.pipeline._executor.submit(gate.wait)
    monkeypatch.setattr("stream.pipeline.pipeline.INLINE_S", 0.0)
    large = [bench.record(click(n, f"s{n}"), offset=n + 1) for n in range(20)]
    accepting = asyncio.create_task(bench.accept(large, lambda: ours))
    await many_turns()
    ours = False
    await asyncio.wait_for(bench.application.pipeline.settle(), 10)
    await bench.application.pipeline.release()
    gate.set()
    await asyncio.wait_for(accepting, 10)
    assert (bench.wire.lists, bench.wire.states) == ([], [])
    await bench.serve(large)
    assert bench.finished == {0: 1 + len(large)}


async def test_nobody_waits_for_a_batch_of_a_worker_that_may_not_produce(bench: Bench) -> None:
    await bench.begin()
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(1), offset=1)])
    settling = asyncio.create_task(bench.application.pipeline.settle())
    await many_turns()
    assert not settling.done()
    bench.inlet.lose_heartbeats()
    await asyncio.wait_for(settling, 10)
    assert bench.finished[0] == 1


@pytest.mark.parametrize("late", ["recommendations", CHANGELOG])
async def test_reports_that_come_after_the_partitions_have_gone_change_nothing(bench: Bench, late: str) -> None:
    await bench.begin()
    events = [bench.record(click(1), offset=1)]
    bench.wire.hold(late)
    await bench.accept(events)
    await until(lambda: bench.wire.held[late])
    reports = bench.wire.held.pop(late)
    await bench.application.pipeline.release()
    before = len(bench.wire.sent)
    for report in reports:
        report()
    await many_turns()
    assert (bench.finished, len(bench.application.table.shard(0)), len(bench.wire.sent)) == ({}, 0, before)
    await bench.serve(events)  # whoever has the partition now reads it again
    assert bench.finished == {0: 2}
    first, second = bench.wire.lists
    assert first == second


# --- sessions that leave


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for silent sessions with each batch."""
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)


LATER_MS = NOW_MS + 32 * MINUTE_MS


@pytest.mark.usefixtures("always_looking")
async def test_silent_sessions_leave_the_changelog_and_memory_once_their_events_are_committed(bench: Bench) -> None:
    shard = bench.application.table.shard(0)
    await bench.serve([bench.record(click(1, "old"), offset=0), bench.record(click(2, "far"), offset=1)])
    await bench.serve([bench.record(click(3, "new", at_ms=LATER_MS), offset=2)])
    assert b"old" in shard  # its click is not committed, and may be read again

    bench.inlet.commit_up_to(0, 2)
    bench.wire.hold(CHANGELOG)
    await bench.accept([bench.record(click(4, "new", at_ms=LATER_MS), offset=3)])
    await many_turns()
    tombstones = {record.key: record for record in bench.wire.tombstones}
    assert set(tombstones) == {b"old", b"far"}
    assert tombstones[b"old"].headers == [(APPLIED_OFFSET_HEADER, b"0")]
    assert b"old" in shard  # the tombstone may not be written yet
    bench.wire.release(CHANGELOG)
    assert (b"old" in shard, b"new" in shard) == (False, True)
    assert bench.sample("expired_sessions_total") == 2


async def test_a_quiet_partition_expires_too_when_the_batch_that_looks_has_no_event_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = bench.application.table
    await bench.serve([bench.record(click(n, f"old{n}"), offset=0, partition=n) for n in (0, 1)])
    await bench.serve([bench.record(click(n, f"new{n}", at_ms=LATER_MS), offset=1, partition=n) for n in (0, 1)])
    for partition in (0, 1):
        bench.inlet.commit_up_to(partition, 2)
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)
    await bench.serve([bench.record(click(4, "new0", at_ms=LATER_MS), offset=2, partition=0)])
    assert [(f"old{n}".encode() in table.shard(n), f"new{n}".encode() in table.shard(n)) for n in (0, 1)] == [
        (False, True)
    ] * 2


async def test_only_so_many_sessions_of_all_partitions_leave_in_one_write_and_the_others_in_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [bench.record(click(n, f"old{n}"), offset=n // 2, partition=n % 2) for n in range(10)]
    await bench.serve(old)
    for partition in (0, 1):
        new = click(10 + partition, f"new{partition}", at_ms=LATER_MS)
        await bench.serve([bench.record(new, offset=5, partition=partition)])
        bench.inlet.commit_up_to(partition, 6)
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_AT_MOST", 4)
    bench.application.pipeline._expired_at -= 60.0
    left = []
    for turn in range(3):  # within the second in which it is not looked again without a reason
        await bench.serve([bench.record(click(12 + turn, "new0", at_ms=LATER_MS), offset=6 + turn)])
        left.append(10 - len(bench.wire.tombstones))
    assert left == [6, 2, 0]


@pytest.mark.usefixtures("always_looking")
async def test_a_session_with_a_click_on_its_way_does_not_leave(bench: Bench) -> None:
    await bench.serve([bench.record(click(1, "old"), offset=0), bench.record(click(2, "gone"), offset=1)])
    await bench.serve([bench.record(click(3, "new", at_ms=LATER_MS), offset=2)])
    bench.inlet.commit_up_to(0, 3)
    bench.wire.hold("recommendations")
    await bench.accept([bench.record(click(4, "old", at_ms=LATER_MS), offset=3)])
    await bench.accept([bench.record(click(5, "new", at_ms=LATER_MS), offset=4)])
    bench.wire.held["recommendations"].pop()()
    await many_turns()
    assert [record.key for record in bench.wire.tombstones] == [b"gone"]


async def test_a_session_that_comes_back_while_its_tombstone_is_written_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = bench.application.table.shard(0)
    await bench.serve([bench.record(click(n, name), offset=n) for n, name in enumerate(("old", "back", "gone"))])
    await bench.serve([bench.record(click(3, "new", at_ms=LATER_MS), offset=3)])
    bench.inlet.commit_up_to(0, 3)
    monkeypatch.setattr("stream.pipeline.pipeline.EXPIRE_EVERY_S", 0.0)
    bench.wire.hold(CHANGELOG)
    await bench.accept([bench.record(click(4, "new", at_ms=LATER_MS), offset=4)])
    await until(lambda: len(bench.wire.tombstones) == 3)
    await bench.accept([bench.record(click(5, "back", at_ms=LATER_MS), offset=5)])
    # A rebalance may bring a newer state, of a worker that had the partition meanwhile.
    shard.recover(b"old", encode_state(SessionState(applied_offset=9, seen_ms=NOW_MS)))
    bench.wire.release(CHANGELOG)
    await bench.application.pipeline.settle()
    assert [key in shard for key in (b"old", b"back", b"gone")] == [True, True, False]
    assert decode_state(shard.get(b"back") or b"").applied_offset == 5
    assert bench.finished == {0: 6}


@pytest.mark.usefixtures("always_looking")
async def test_partitions_that_go_while_sessions_leave_get_no_more_tombstones(bench: Bench) -> None:
    table = bench.application.table
    await bench.serve([bench.record(click(n, f"old{n}"), offset=0, partition=n) for n in (0, 1)])
    await bench.serve([bench.record(click(n, f"new{n}", at_ms=LATER_MS), offset=1, partition=n) for n in (0, 1)])
    for partition in (0, 1):
        bench.inlet.commit_up_to(partition, 2)
    bench.wire.hold(CHANGELOG)
    await bench.accept([bench.record(b"{", offset=2, key=b"k")])
    await until(lambda: bench.wire.tombstones)
    reports = bench.wire.held.pop(CHANGELOG)
    await bench.application.pipeline.release()
    table.forget([1, 2, 3])
    for report in reports:
        report()
    await many_turns()
    assert bench.failure is None
    assert set(table.shards) == {0}
    await bench.serve([bench.record(b"{", offset=2, key=b"k")])
    tombstones = [(record.partition, record.key) for record in bench.wire.tombstones]
    assert tombstones == [(0, b"old0"), (1, b"old1"), (0, b"old0")]


# --- the table's own errors


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
    bench.application.table.recover([bench.record(value, offset=4, partition=1, key=key)])
    assert sentence in str(bench.failure)
    assert "partition 1 offset 4" in str(bench.failure)


async def test_states_of_another_topic_with_the_same_name_end_the_process(bench: Bench) -> None:
    table = bench.application.table
    table.apply(bench.record(b'{"topic_id": "topic-0"}', offset=0, key=MARKER_KEY))
    await table.recovery_ends({0})
    assert isinstance(bench.failure, TopicError)
    assert "topic-0" in str(bench.failure)


def test_the_tables_changelog_is_the_one_that_is_made_for_it(bench: Bench) -> None:
    assert bench.application.table.changelog_topic_name == changelog_name(Settings())
