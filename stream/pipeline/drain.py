"""Batches of whatever is waiting, taken from a Faust stream's own queue.

Faust's `take` waits for a timer of its own, and acknowledges the batch when the code that works on it raises; even
`noack_take` fills one event per turn of the loop behind a free-running timer. Here a single waiting event is given at
once, and a burst in as large batches as it has grown to. What Faust's stream iterator does beside this, and what is
therefore done here (`faust/streams.py`, `Stream._py_aiter`, 0.15.3):

- an event that was fetched before a rebalance (of another generation), or while flow control holds the streams, is
  dropped: its partition will be read again from the committed offset;
- every other event is tracked before anybody waits for anything, so that a rebalance or a stop that begins now waits
  until it is acknowledged;
- `StopAsyncIteration`, which the agent puts into the queue when it stops, ends the iteration.
"""

from collections.abc import AsyncIterator
from typing import Any

import faust

Event = Any


async def batches(app: faust.App, stream: Any, most: int) -> AsyncIterator[list[Event]]:
    """Give lists of 1 to `most` events in the order of their partitions' logs; the caller acknowledges each."""
    queue = stream.channel.queue
    while True:
        try:
            events = [await queue.get()]
            while len(events) < most and not queue.empty():
                events.append(queue.get_nowait())
        except StopAsyncIteration:
            return
        current = [event for event in events if _is_current(app, event)]
        for event in current:
            _track(app, event)
        if current:
            yield current


def _is_current(app: faust.App, event: Event) -> bool:
    return bool(app.flow_control.is_active() and event.message.generation_id == app.consumer_generation_id)


def _track(app: faust.App, event: Event) -> None:
    message = event.message
    if not message.tracked:
        message.tracked = True
        app.consumer.track_message(message)
