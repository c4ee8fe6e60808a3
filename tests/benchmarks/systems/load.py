"""An open-loop generator: each click leaves at its scheduled time, whatever became of those before it.

SERVERS TOPIC RATE START_NS FIRST CLICKS sends the clicks of a file, pairs of session and item, evenly, the first at
START_NS of the monotonic clock, which all processes of a machine share. Event ids count on from FIRST, so that a reader
can tell from the answer alone when its click was due.
"""

import sys
import threading
import time
from pathlib import Path

import msgspec

from serving.events import Click, encode_click
from tests.benchmarks.kafka import keyed_producer


def main() -> None:
    """Send all clicks, then wait until Kafka has them."""
    servers, topic, rate, start_ns, first, path = sys.argv[1:]
    clicks = msgspec.msgpack.decode(Path(path).read_bytes(), type=list[tuple[str, str]])
    producer = keyed_producer(servers, **{"linger.ms": 0, "queue.buffering.max.messages": 1_000_000})
    producer.list_topics(topic)  # connects
    # librdkafka's own waiting counts in milliseconds; an event that never comes is waited for to the microsecond.
    never = threading.Event()
    late_ns = 0
    for number, (session_id, item_id) in enumerate(clicks):
        due_ns = int(start_ns) + round(number * 1e9 / float(rate))
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            never.wait(left_ns / 1e9)
        late_ns = max(late_ns, -left_ns)
        click = Click(f"{int(first) + number:010d}", session_id, item_id, time.time_ns() // 1_000_000)
        producer.produce(topic, encode_click(click), session_id.encode())
        producer.poll(0)
    missing = producer.flush(60)
    assert not missing, f"{missing} clicks were not taken within a minute"
    print(f"latest {late_ns / 1e6:.1f} ms after its time")


if __name__ == "__main__":
    main()
