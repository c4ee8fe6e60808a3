"""The process that sends the records, as many as it is allowed to: never too far ahead of who checks them.

    python -m tests.end_to_end.fuzz.sender --servers HOST:PORT --topic clicks --events 20000 --seed 1

Each line of its standard input is how many it may have sent by then. It ends when all are sent, or its input does, and
prints how many Kafka did not take.
"""

import argparse
import itertools
import sys
import time

from confluent_kafka import Producer

from tests.end_to_end.fuzz.records import Outgoing, records

QUEUED = 50_000
LARGEST_REQUEST = 1_100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    options = {"partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": 5, "log_level": 3}
    options |= {"message.max.bytes": LARGEST_REQUEST, "queue.buffering.max.messages": QUEUED}
    producer = Producer({"bootstrap.servers": arguments.servers, **options})
    refused: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            refused.append(str(error))

    def send(record: Outgoing) -> None:
        while True:
            try:
                producer.produce(
                    arguments.topic, record.value, record.key, headers=record.headers, on_delivery=delivered
                )
                return
            except BufferError:
                producer.poll(0.1)

    stream = itertools.islice(records(arguments.seed, lambda: round(time.time() * 1000)), arguments.events)
    sent = 0
    for line in sys.stdin:
        for record in itertools.islice(stream, max(0, int(line) - sent)):
            send(record)
            sent += 1
            if sent % 500 == 0:
                producer.poll(0)
        if sent == arguments.events:
            break
    left = producer.flush(60)
    print(f"{len(refused) + left} not taken by Kafka: {refused[:3]}", flush=True)


if __name__ == "__main__":
    main()
