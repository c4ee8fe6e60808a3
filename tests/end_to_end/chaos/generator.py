"""The process that sends clicks: an open loop, which falls behind for nobody.

    python -m tests.end_to_end.chaos.generator --servers HOST:PORT --topic clicks --rate 9 ...

Each record has its time; one that could not be sent then is sent as soon as possible, and keeps its event time. Its
standard input takes commands, a line each: `poison N` sends so many records that are no clicks in a row, `deadly` a
click that kills a `deadly_worker`. At its end, or at SIGTERM, it waits for the broker and prints what it sent as JSON.
"""

import argparse
import json
import os
import select
import signal
import time
from typing import Any

from confluent_kafka import Producer

from tests.end_to_end.chaos.clickstream import ClickStream, Outgoing

TICK_S = 0.005
FLUSH_S = 60.0


class Generator:
    """Sends a stream into a topic at a rate."""

    def __init__(self, servers: str, topic: str, stream: ClickStream) -> None:
        # Idempotent: one session's clicks stay in their order when the broker dies and what was sent is sent again.
        options = {"partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": 2, "log_level": 3}
        self._producer = Producer({"bootstrap.servers": servers, **options})
        self._topic = topic
        self._stream = stream
        self._acknowledged = 0
        self._failed: list[str] = []
        self._sent = 0
        self._stopped = False
        self._unread = b""

    def run(self, rate: float) -> None:
        """Send until SIGTERM or the end of the standard input."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us will say when
        began, number = time.time(), 0
        while not self._stopped:
            self._obey()
            while (due_s := began + number / rate) <= time.time():
                self._send(self._stream.next(round(due_s * 1000)))
                number += 1
            self._producer.poll(TICK_S)

    def report(self) -> dict[str, Any]:
        """Wait until the broker has everything, and return what it has."""
        left = self._producer.flush(FLUSH_S)
        return {"sent": self._sent, "acknowledged": self._acknowledged, "left": left, "failed": self._failed[:5]}

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def _obey(self) -> None:
        while select.select([0], [], [], 0)[0]:
            if not (read := os.read(0, 4096)):
                self._stopped = True
                return
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                self._command(line.decode())

    def _command(self, line: str) -> None:
        now_ms = round(time.time() * 1000)
        match line.split():
            case ["deadly"]:
                self._send(self._stream.deadly(now_ms))
            case ["poison", count]:
                for _ in range(int(count)):
                    self._send(self._stream.poison(now_ms))
            case other:
                raise ValueError(f"the generator knows the commands `deadly` and `poison N`, not {other}")

    def _send(self, record: Outgoing) -> None:
        options = {} if record.partition is None else {"partition": record.partition}
        self._sent += 1
        self._producer.produce(
            self._topic, record.value, record.key, headers=record.headers, on_delivery=self._delivered, **options
        )

    def _delivered(self, error: Any, _: Any) -> None:
        if error is None:
            self._acknowledged += 1
        else:
            self._failed.append(str(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--phase", required=True)
    arguments = parser.parse_args()
    stream = ClickStream(arguments.seed, arguments.phase, arguments.partitions)
    generator = Generator(arguments.servers, arguments.topic, stream)
    generator.run(arguments.rate)
    print(json.dumps(generator.report()), flush=True)


if __name__ == "__main__":
    main()
