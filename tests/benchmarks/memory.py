"""Whether a worker's memory stays what it is: resident set size while ten million clicks go by.

    python -m tests.benchmarks.memory [--events N] [--items N]

The number of live sessions is constant, but the sessions are not: 2,000 real sessions at a time, each a few clicks
long, end and expire by event time (a millisecond from click to click, a gap of two minutes and half a minute's grace).
Clicks are sent as fast as the worker answers them, at most `AHEAD` before it.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from deploy.local.kafka import KafkaBroker
from deploy.local.process import free_port
from stream.contract.topics import create_topics
from tests.benchmarks.grown import grown_bundle, real_sessions
from tests.benchmarks.kafka import Topics, new_name
from tests.benchmarks.processes import NextclickWorker, as_settings, nextclick_worker, rss_bytes
from tests.benchmarks.results import machine, say, write
from tests.benchmarks.workload import interleave, records

LIVE_SESSIONS = 2_000
GAP_S, GRACE_S = 120.0, 30.0
AHEAD = 50_000
# The disk need not hold ten million lists.
BOUNDED = {"retention.bytes": str(2**28), "segment.bytes": str(2**26)}
FIRST_SHARE = 0.2  # of the events, when everything has been in use for long: two of ten million
SAMPLES = 50


def main() -> None:
    """Run the part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000, help="clicks altogether")
    parser.add_argument("--items", type=int, default=10_000, help="items in the bundle")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(), "items": options.items, "live_sessions": LIVE_SESSIONS}
    bundle = grown_bundle(options.items)
    clicks = interleave(real_sessions(bundle), LIVE_SESSIONS)
    with KafkaBroker() as broker, closing(Topics(broker.bootstrap_servers)) as topics:
        names = [new_name(name) for name in ("clicks", "lists", "nextclick")]
        settings = {
            "kafka.bootstrap_servers": topics.servers,
            "topics.clicks": topics.create(names[0], BOUNDED | {"message.timestamp.type": "LogAppendTime"}),
            "topics.recommendations": topics.create(names[1], BOUNDED),
            "worker.app_id": names[2],
            "worker.expiry_grace_s": GRACE_S,
            "serving.session_gap_s": GAP_S,
        }
        create_topics(as_settings(settings))
        start_ms = time.time_ns() // 1_000_000 - options.events
        stream = records(itertools.islice(clicks, options.events), start_ms)
        with nextclick_worker(bundle.directory, settings, free_port()) as worker:
            del bundle
            samples = run(topics, worker, names[0], names[1], stream, options.events)
    by_events = {sample["events"]: sample["rss_mb"] for sample in samples}
    first = min(events for events in by_events if events >= options.events * FIRST_SHARE)
    figures = {
        "events": options.events,
        "rss_mb": by_events,
        "from_events": first,
        "growth": round(by_events[options.events] / by_events[first] - 1, 4),
    }
    write("memory", figures, details | {"samples": samples})


def run(
    topics: Topics, worker: NextclickWorker, clicks: str, lists: str, stream: Iterator[tuple[bytes, bytes]], events: int
) -> list[dict[str, float]]:
    """Send all clicks, and return the memory after each of `SAMPLES` equal parts of them."""
    samples = []
    sent, step = 0, events // SAMPLES
    for part in range(1, SAMPLES + 1):
        target = events if part == SAMPLES else part * step
        while sent < target:
            count = min(AHEAD // 2, target - sent)
            topics.wait_for_records(lists, sent - AHEAD // 2)
            sent += topics.fill(clicks, itertools.islice(stream, count))
        topics.wait_for_records(lists, target)
        metrics = worker.metrics()
        samples.append(
            {
                "events": target,
                "rss_mb": round(rss_bytes(worker.process.pid) / 2**20, 1),
                "sessions": metrics["nextclick_stream_session_table_entries"],
                "expired": metrics["nextclick_stream_expired_sessions_total"],
            }
        )
        say(str(samples[-1]))
    return samples


if __name__ == "__main__":
    main()
