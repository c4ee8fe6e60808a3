"""A reader of lists that notes when each came: SERVERS TOPIC FIRST COUNT OUT.

It waits in librdkafka's `poll` (its `consume` would add up to its own timeout), looks for `trigger_event_id` in the
value, and writes the arrival of each of COUNT clicks, in nanoseconds of the monotonic clock, 0 where none came.
"""

import sys
import time
from array import array
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.kafka import PARTITIONS, new_name

MARK = b'"trigger_event_id":"'
SILENCE_S = 20.0


def main() -> None:
    """Read until every click has its list, or none has come for long."""
    servers, topic, first, count, out = sys.argv[1:]
    consumer = Consumer({"bootstrap.servers": servers, "group.id": new_name("reader"), "enable.auto.commit": False})
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    for partition in partitions:
        partition.offset = consumer.get_watermark_offsets(partition)[1]
    consumer.assign(partitions)
    consumer.poll(0.5)  # connects
    print("ready", flush=True)
    arrivals = array("q", bytes(8 * int(count)))
    left = int(count)
    while left:
        message = consumer.poll(SILENCE_S)
        now_ns = time.monotonic_ns()
        if message is None:
            break
        if message.error():
            continue
        value = message.value()
        begin = value.index(MARK) + len(MARK)
        number = int(value[begin : value.index(b'"', begin)]) - int(first)
        if 0 <= number < len(arrivals) and not arrivals[number]:
            arrivals[number] = now_ns
            left -= 1
    Path(out).write_bytes(arrivals.tobytes())
    consumer.close()


if __name__ == "__main__":
    main()
