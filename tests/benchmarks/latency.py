"""How long a click waits for its list: from its scheduled send time until a reader's poll returns the list.

    python -m tests.benchmarks.latency [--items N] [--seconds S] [--repeats N] [--rates R ...]

Open loop: clicks leave on time however slow the answers are. Clicks are those of real sessions, a thousand of them at
a time, in order. Generator, reader, worker, echo and Apache Kafka share this machine's cores.

`echo` is a bare loop that reads a click and writes two records as large as a list and a state (`systems/echo.py`): what
Kafka, its clients and this machine need for themselves. The two take turns at each rate; both run all the time. When
the echo itself is slow (p50 above 1.5 ms at 1,000/s), the machine was busy and the run is void.

The last rate is 70 % of the capacity: of the lists per second that arrive when clicks are sent as fast as the worker
drains a backlog, with the generator and the reader on the same cores.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from deploy.local.kafka import KafkaBroker
from deploy.local.process import free_port
from stream.contract.topics import create_topics
from tests.benchmarks.drain import drain
from tests.benchmarks.grown import grown_bundle, real_sessions
from tests.benchmarks.kafka import Topics, new_name
from tests.benchmarks.processes import as_settings, cpu_s, nextclick_worker, running
from tests.benchmarks.results import machine, say, write
from tests.benchmarks.workload import blobs, interleave, records

RATES = (100, 500, 1_000)
CAPACITY_SHARE = 0.7
CAPACITY_EVENTS = 60_000
CAPACITY_SECONDS = 8.0
# Of each run, not measured: connections, caches.
SKIPPED_S = 3.0
QUANTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9}
VOID_P50_MS, VOID_RATE = 1.5, 1_000
LIVE_SESSIONS = 1_000

Nanoseconds = npt.NDArray[Any]


def main() -> None:
    """Run the part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000, help="items in the bundle")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one run")
    parser.add_argument("--repeats", type=int, default=5, help="runs at each rate; the medians are reported")
    parser.add_argument("--rates", type=int, nargs="*", default=RATES, help="clicks per second")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(), "items": options.items, "live_sessions": LIVE_SESSIONS}
    details |= {"seconds": options.seconds, "repeats": options.repeats, "runs": []}
    bundle = grown_bundle(options.items)
    sessions, directory = real_sessions(bundle), bundle.directory
    del bundle  # half a gigabyte
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(KafkaBroker())
        topics = stack.enter_context(closing(Topics(broker.bootstrap_servers)))
        bench = Bench(topics, folder, sessions, stack)
        bench.start(directory)
        details["drained_per_second"] = round(bench.drained)
        capacity = bench.capacity()
        details["capacity_events_per_second"] = round(capacity)
        say(f"drains {bench.drained:.0f} clicks/s, carries {capacity:.0f} from the generator to the reader")
        rates = [*options.rates, round(capacity * CAPACITY_SHARE)]
        for repeat in range(options.repeats):
            for rate in rates:
                for system in ("nextclick", "echo"):
                    run = bench.run(system, rate, options.seconds)
                    details["runs"].append(run)
                    say(f"run {repeat + 1}: {system} at {rate}/s " + ", ".join(f"{k} {run[k]:.2f}" for k in QUANTILES))
    figures = summary(details["runs"])
    details["void"] = is_void(figures)
    write("latency", figures, details)
    if details["void"]:
        raise SystemExit(f"void: the echo's p50 is above {VOID_P50_MS} ms at {VOID_RATE}/s; the machine was busy")


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the medians of the runs at each rate of each system."""
    groups: dict[tuple[float, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["rate"], run["system"]].append(run)
    return [
        {"rate": rate, "system": system}
        | {name: round(float(np.median([run[name] for run in group])), 3) for name in QUANTILES}
        for (rate, system), group in groups.items()
    ]


def is_void(figures: Sequence[dict[str, Any]]) -> bool:
    """Tell whether the echo was too slow for anything to be learnt."""
    return any(row["system"] == "echo" and row["rate"] == VOID_RATE and row["p50_ms"] > VOID_P50_MS for row in figures)


@dataclass(frozen=True)
class Route:
    """Where a system's clicks go, where its lists come out, and the process between."""

    clicks: str
    lists: str
    pid: int


class Bench:
    """Both systems on one broker."""

    def __init__(self, topics: Topics, folder: Path, sessions: Sequence[Sequence[str]], stack: ExitStack) -> None:
        self._topics = topics
        self._folder = folder
        self._clicks = interleave(sessions, LIVE_SESSIONS)
        self._stack = stack
        self._sent = self._asked = 0
        self._routes: dict[str, Route] = {}
        self.drained = 0.0
        """Clicks per second of a backlog."""

    def start(self, bundle: Path) -> None:
        """Start both; the worker first answers a backlog."""
        self._routes["echo"] = self._start_echo()
        group, clicks, lists = new_name("nextclick"), new_name("clicks"), new_name("lists")
        settings = {
            "kafka.bootstrap_servers": self._topics.servers,
            "topics.clicks": clicks,
            "topics.recommendations": lists,
            "worker.app_id": group,
        }
        create_topics(as_settings(settings))
        self._topics.fill(clicks, records(self._take(CAPACITY_EVENTS), time.time_ns() // 1_000_000))
        self._asked += CAPACITY_EVENTS
        self._worker = self._stack.enter_context(nextclick_worker(bundle, settings, free_port()))
        drained = drain(self._topics, lists, group, clicks, self._worker.process.pid, CAPACITY_EVENTS)
        self.drained = 1e6 / drained.wall_us_per_event
        self._routes["nextclick"] = Route(clicks, lists, self._worker.process.pid)

    def _start_echo(self) -> Route:
        clicks, lists = self._topics.create(new_name("echo-clicks")), self._topics.create(new_name("echo-lists"))
        states = self._topics.create(new_name("echo-states"))
        path = self._folder / "blobs"
        blobs().write(path)
        command = [sys.executable, "-m", "tests.benchmarks.systems.echo", self._topics.servers, clicks, lists, states]
        process = self._stack.enter_context(running("echo", [*command, new_name("echo"), str(path)]))
        return Route(clicks, lists, process.pid)

    def capacity(self) -> float:
        """Send more clicks than can be served; return how many lists arrive per second."""
        due_ns, found_ns = self._send(self._routes["nextclick"], self.drained, CAPACITY_SECONDS)
        return len(found_ns) / float(found_ns.max() - due_ns[0]) * 1e9

    def run(self, system: str, rate: float, seconds: float) -> dict[str, Any]:
        """Send clicks at a rate and return what their latencies were."""
        route = self._routes[system]
        before, cpu_before = self._stages(system), cpu_s(route.pid)
        due_ns, found_ns = self._send(route, rate, seconds)
        latencies = (found_ns - due_ns)[round(rate * SKIPPED_S) :] / 1e6
        run = {"system": system, "rate": rate, "samples": len(latencies)}
        run |= {name: round(float(np.percentile(latencies, q)), 3) for name, q in QUANTILES.items()}
        run["cpu_us_per_event"] = round((cpu_s(route.pid) - cpu_before) / len(found_ns) * 1e6, 1)
        return run | {"stages": stage_means(before, self._stages(system))}

    def _send(self, route: Route, rate: float, seconds: float) -> tuple[Nanoseconds, Nanoseconds]:
        """Send clicks at a rate; return when each was due, and when its list arrived."""
        count, first = round(rate * seconds), self._sent
        if route is self._routes["nextclick"]:
            self._asked += count
        clicks, arrivals = self._folder / "clicks", self._folder / "arrivals"
        clicks.write_bytes(msgspec.msgpack.encode(self._take(count)))
        module = [sys.executable, "-m"]
        place = [self._topics.servers, route.lists, str(first), str(count), str(arrivals)]
        with running("reader", [*module, "tests.benchmarks.systems.reader", *place]) as reader:
            reader.wait_until(lambda: "ready" in reader.log.read_text(), 30)
            start_ns = time.monotonic_ns() + 1_000_000_000
            due = [self._topics.servers, route.clicks, str(rate), str(start_ns), str(first), str(clicks)]
            with running("load", [*module, "tests.benchmarks.systems.load", *due]) as load:
                code = load.wait(seconds + 90)
                assert code == 0, load.last_lines()
            code = reader.wait(60)
            assert code == 0, reader.last_lines()
        found_ns = np.frombuffer(arrivals.read_bytes(), np.int64)
        lost = int((found_ns == 0).sum())
        assert not lost, f"{lost} of {count} clicks had no list within {seconds + 20} s"
        return start_ns + np.arange(count) * 1e9 / rate, found_ns

    def _take(self, count: int) -> list[tuple[str, str]]:
        self._sent += count
        return [next(self._clicks) for _ in range(count)]

    def _stages(self, system: str) -> dict[str, float]:
        """Return the worker's figures. It counts a click when its state is written: then all have been counted."""
        if system != "nextclick":
            return {}
        self._worker.process.wait_until(lambda: counted(self._worker.metrics()) >= self._asked, 30)
        return self._worker.metrics()


def counted(metrics: dict[str, float]) -> float:
    """Return how many clicks have come to their end."""
    return sum(value for series, value in metrics.items() if series.startswith("nextclick_stream_events_total"))


def stage_means(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return what a batch spent in each stage on average, in milliseconds, and how many clicks were in it."""
    found = {}
    for series in after:
        if "_sum" in series and series.startswith("nextclick_") and ("_seconds_" in series or "batch_events" in series):
            spent = after[series] - before.get(series, 0.0)
            times = after[series.replace("_sum", "_count")] - before.get(series.replace("_sum", "_count"), 0.0)
            if times:
                scale = 1e3 if "_seconds_" in series else 1.0
                found[series.replace("_sum", "").removeprefix("nextclick_")] = round(spent / times * scale, 4)
    return found


if __name__ == "__main__":
    main()
