import asyncio
from typing import Any

from serving.events import Click
from stream.pipeline.drain import batches
from tests.stream.bench import Bench, as_stream


def events(bench: Bench, count: int) -> list[Any]:
    return [bench.event(Click(f"e{n}", "s1", "i1", 1), offset=n) for n in range(count)]


def offsets(batch: list[Any]) -> list[int]:
    return [event.message.offset for event in batch]


async def test_what_is_waiting_is_one_batch_up_to_the_limit(bench: Bench) -> None:
    queue = bench.application.faust.FlowControlQueue(maxsize=100)
    for event in events(bench, 5):
        queue.put_nowait(event)
    taken = batches(bench.application.faust, as_stream(queue), most=3)
    assert offsets(await anext(taken)) == [0, 1, 2]
    assert offsets(await anext(taken)) == [3, 4]


async def test_a_single_event_is_given_at_once(bench: Bench) -> None:
    queue = bench.application.faust.FlowControlQueue(maxsize=100)
    waiting = asyncio.ensure_future(anext(batches(bench.application.faust, as_stream(queue), most=100)))
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put_nowait(events(bench, 1)[0])
    for _ in range(5):  # turns of the loop, not time
        await asyncio.sleep(0)
    assert offsets(waiting.result()) == [0]


async def test_every_event_is_tracked_before_it_is_given(bench: Bench) -> None:
    queue = bench.application.faust.FlowControlQueue(maxsize=100)
    for event in events(bench, 2):
        queue.put_nowait(event)
    batch = await anext(batches(bench.application.faust, as_stream(queue), most=100))
    assert bench.inlet.tracked == [event.message for event in batch]


async def test_events_from_before_a_rebalance_are_dropped_untracked(bench: Bench) -> None:
    queue = bench.application.faust.FlowControlQueue(maxsize=100)
    stale, current = events(bench, 2)
    current.message.generation_id = bench.application.faust.consumer_generation_id = 7
    queue.put_nowait(stale)
    queue.put_nowait(current)
    batch = await anext(batches(bench.application.faust, as_stream(queue), most=100))
    assert offsets(batch) == [1]
    assert bench.inlet.tracked == [current.message]


async def test_while_the_flow_is_held_events_are_dropped_untracked(bench: Bench) -> None:
    app = bench.application.faust
    queue = app.FlowControlQueue(maxsize=100)
    taken = batches(app, as_stream(queue), most=100)
    first, second = events(bench, 2)
    app.flow_control.suspend()
    queue.put_nowait(first)
    waiting = asyncio.ensure_future(anext(taken))
    while not queue.empty():
        await asyncio.sleep(0)
    app.flow_control.resume()
    queue.put_nowait(second)
    assert offsets(await waiting) == [1]
    assert bench.inlet.tracked == [second.message]


async def test_a_stopping_agent_ends_the_batches(bench: Bench) -> None:
    async with bench.application.agent.test_context() as agent:
        queue = agent.stream().channel.queue
        queue._throw(StopAsyncIteration())
        assert [batch async for batch in batches(bench.application.faust, as_stream(queue), most=2)] == []
