"""What a list costs in the whole worker: a trained GRU, an HNSW index, lists of 20, clicks of real sessions.

    python -m tests.benchmarks.pipeline [--items N ...] [--events N] [--repeats N]

Per CPU second of the worker's process, all threads together, while it drains a topic that was filled before. The
catalogues are grown from trained item vectors (`grown.py` says how, and how like real ones they are); index recall is
measured with session vectors of held-out sessions, whose clicks are also those that are served.

The cost against the length of sessions is measured with the smallest catalogue, where it would show most: the clicks
of the real sessions in a row, cut into sessions of that length.
"""

import argparse
import dataclasses
import itertools
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaBroker
from deploy.local.process import free_port
from stream.contract.topics import create_topics
from tests.benchmarks.drain import Drained, drain
from tests.benchmarks.grown import (
    FACTORY,
    grown_bundle,
    index_recall,
    likeness,
    real_sessions,
    session_vectors,
    trained_bundle,
)
from tests.benchmarks.kafka import Topics, new_name
from tests.benchmarks.processes import as_settings, nextclick_worker
from tests.benchmarks.results import machine, middle, say, write
from tests.benchmarks.workload import interleave, records

ITEMS = (10_000, 100_000, 1_000_000)
LENGTHS = (1, 10, 50, 200)
LIVE_SESSIONS = 1_000


def main() -> None:
    """Run the part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=ITEMS, help="catalogue sizes")
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="session lengths")
    parser.add_argument("--events", type=int, default=100_000, help="clicks in a run")
    parser.add_argument("--repeats", type=int, default=5, help="runs; the medians are reported")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(), "events": options.events, "live_sessions": LIVE_SESSIONS}
    trained = trained_bundle()
    queries = session_vectors(trained, real_sessions(trained))
    details |= {"index": FACTORY, "likeness": likeness(trained, queries), "runs": {}, "session_length": []}
    figures = []
    with KafkaBroker() as broker, closing(Topics(broker.bootstrap_servers)) as topics:
        for items in options.items:
            bundle = grown_bundle(items)
            assert bundle.index is not None
            recall, sessions = index_recall(bundle.index, bundle.vectors, queries), real_sessions(bundle)
            directory = bundle.directory
            del bundle  # half a gigabyte
            runs = measure(topics, directory, sessions, options.events, options.repeats)
            details["runs"][items] = [dataclasses.asdict(run) for run in runs]
            figures.append(
                {
                    "items": items,
                    "events_per_second_per_core": middle((1e6 / run.cpu_us_per_event for run in runs), 0),
                    "index_recall_at_10": round(recall, 4),
                }
            )
            say(str(figures[-1]))
        bundle = grown_bundle(min(options.items))
        for length in options.lengths:
            runs = measure(
                topics, bundle.directory, cut(real_sessions(bundle), length), options.events, options.repeats
            )
            cost = middle(run.cpu_us_per_event for run in runs)
            details["session_length"].append({"clicks": length, "cpu_us_per_event": cost})
            say(str(details["session_length"][-1]))
    write("pipeline", figures, details)


def measure(
    topics: Topics, bundle: Path, sessions: Sequence[Sequence[str]], events: int, repeats: int
) -> list[Drained]:
    """Let a fresh worker answer the same clicks, several times."""
    clicks = topics.create(new_name("clicks"), {"message.timestamp.type": "LogAppendTime"})
    chosen = itertools.islice(interleave(sessions, LIVE_SESSIONS), events)
    topics.fill(clicks, records(chosen, time.time_ns() // 1_000_000 - events))
    runs = [_run(topics, bundle, clicks, events) for _ in range(repeats)]
    topics.delete(clicks)
    return runs


def _run(topics: Topics, bundle: Path, clicks: str, events: int) -> Drained:
    group, lists = new_name("nextclick"), new_name("lists")
    settings = {
        "kafka.bootstrap_servers": topics.servers,
        "topics.clicks": clicks,
        "topics.recommendations": lists,
        "worker.app_id": group,
    }
    create_topics(as_settings(settings))
    with nextclick_worker(bundle, settings, free_port()) as worker:
        drained = drain(topics, lists, group, clicks, worker.process.pid, events)
        made = worker.metrics()['nextclick_stream_lists_total{source="encoder"}']
    assert made == events, f"{made:.0f} of {events} lists came from the encoder"
    topics.delete(lists, f"{group}-sessions-changelog")
    return drained


def cut(sessions: Sequence[Sequence[str]], length: int) -> list[list[str]]:
    """Return all clicks in a row, cut into sessions of one length; what is left over at the end is out."""
    row = [item_id for session in sessions for item_id in session]
    return [row[start : start + length] for start in range(0, len(row) - length + 1, length)]


if __name__ == "__main__":
    main()
