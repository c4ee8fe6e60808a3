"""How long a worker that starts must read before it serves, against the number and the size of its sessions.

    python -m tests.benchmarks.recovery [--sessions N ...] [--state-bytes N ...] [--repeats N]

The changelog holds one state for each session, as after a compaction. `memory` reads all of it at each start;
`rocksdb` is measured when its disk is empty (a new machine), and when it has it all (a restart). Seconds are the
worker's own figure, `nextclick_stream_recovery_seconds`; loading the bundle and joining the group are not in it.
"""

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaBroker
from deploy.local.process import free_port
from serving.session import Carried, Interaction, SessionState, encode_state
from stream.contract.topics import create_topics
from tests.benchmarks.kafka import Topics, new_name
from tests.benchmarks.processes import as_settings, cpu_s, nextclick_worker
from tests.benchmarks.results import machine, middle, say, write
from tests.tiny_bundle import write_tiny_bundle

SESSIONS = (100_000, 400_000)
STATE_BYTES = (500, 1_500, 4_000)
START_MS = 1_780_000_000_000


def main() -> None:
    """Run the part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS, help="sessions in the changelog")
    parser.add_argument("--state-bytes", type=int, nargs="+", default=STATE_BYTES, help="bytes of one state, at least")
    parser.add_argument("--repeats", type=int, default=3, help="starts; the medians are reported")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(), "repeats": options.repeats, "runs": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaBroker() as broker,
        closing(Topics(broker.bootstrap_servers)) as topics,
    ):
        bundle = Path(folder) / "bundle"
        write_tiny_bundle(bundle)
        for sessions in options.sessions:
            for size in options.state_bytes:
                details["runs"] += measure(topics, bundle, sessions, size, options.repeats)
    write("recovery", summary(details["runs"]), details)


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the medians of each way to start."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["store"], run["sessions"], run["state_bytes"]].append(run)
    return [
        {
            "store": store,
            "sessions": sessions,
            "state_bytes": size,
            "seconds": middle((run["seconds"] for run in group), 3),
            "seconds_per_100k_sessions": middle((run["seconds"] * 1e5 / sessions for run in group), 3),
        }
        for (store, sessions, size), group in groups.items()
    ]


def measure(topics: Topics, bundle: Path, sessions: int, size: int, repeats: int) -> list[dict[str, Any]]:
    """Fill a changelog, and start workers that read it."""
    group = new_name("nextclick")
    settings: dict[str, Any] = {
        "kafka.bootstrap_servers": topics.servers,
        "topics.clicks": new_name("clicks"),
        "topics.recommendations": new_name("lists"),
        "worker.app_id": group,
    }
    create_topics(as_settings(settings))
    changelog = f"{group}-sessions-changelog"
    topics.fill(changelog, states(sessions, size))
    stored = topics.mean_bytes(changelog)
    runs = []
    for _ in range(repeats):
        runs.append(_start(bundle, settings, "memory", sessions, stored))
        with tempfile.TemporaryDirectory() as disk:
            on_disk = settings | {"worker.store": "rocksdb", "worker.state_dir": disk}
            runs.append(_start(bundle, on_disk, "rocksdb, empty disk", sessions, stored))
            runs.append(_start(bundle, on_disk, "rocksdb, restart", sessions, stored))
    topics.delete(changelog, settings["topics.clicks"], settings["topics.recommendations"])
    return runs


def _start(bundle: Path, settings: dict[str, Any], store: str, sessions: int, size: int) -> dict[str, Any]:
    began = time.monotonic()
    with nextclick_worker(bundle, settings, free_port()) as worker:
        ready_s = time.monotonic() - began
        metrics, cpu = worker.metrics(), cpu_s(worker.process.pid)
        worker.process.stop(30)
    run = {"store": store, "sessions": sessions, "state_bytes": size}
    run |= {"seconds": metrics["nextclick_stream_recovery_seconds"], "start_to_ready_s": round(ready_s, 2)}
    run |= {"cpu_s": cpu, "records_read": metrics["nextclick_stream_recovered_records_total"]}
    say(str(run))
    return run


def states(sessions: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and states of sessions that were seen in one minute, each of at least so many bytes."""
    choose = random.Random(0)
    for number in range(sessions):
        seen_ms = START_MS + choose.randrange(60_000)
        carried = [Carried("0123456789abcdef", 0, choose.randbytes(256))]
        events: list[Interaction] = []
        # An event and its item's id take about 40 bytes; what the rest of a state takes is there without any.
        while not events or len(state := _state(events, seen_ms, carried)) < size:
            missing = 1 if not events else max(1, (size - len(state)) // 45)
            events += [_event(choose, seen_ms) for _ in range(missing)]
        yield f"session-{number:08d}".encode(), state


def _state(events: list[Interaction], seen_ms: int, carried: list[Carried]) -> bytes:
    fields: dict[str, Any] = {"last_ms": seen_ms, "seen_ms": seen_ms, "count": len(events), "carried": carried}
    return encode_state(SessionState.of(events, **fields))


def _event(choose: random.Random, timestamp_ms: int) -> Interaction:
    return Interaction(f"{choose.getrandbits(96):024x}", "view", timestamp_ms, choose.getrandbits(63))


if __name__ == "__main__":
    main()
