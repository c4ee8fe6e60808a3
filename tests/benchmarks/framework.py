"""What the stream itself costs: CPU per event with lists that nobody has to compute, beside Quix, Faust and bare loops.

    python -m tests.benchmarks.framework [--events N] [--repeats N] [--systems SYSTEM ...] [--variants N]
                                         [--quix PYTHON]

All read the same clicks from the same broker, in turns. Each answers every click with one list of 20 items and writes
the session's state of about 1.5 KB to a changelog; lists and states are of about the same sizes in all of them,
compressed with lz4. 10,000 sessions are live from the first tenth on, which is not measured. `--variants` is how often
nextclick is measured with each other value of a setting.

`nextclick` is the real worker with a null encoder and a null recommender (`systems/null_worker.py`): it decodes and
checks the click, reads, updates and encodes the state, scores the list shown before, encodes the list, and waits for
one delivery report per record. Quix Streams and Faust call a function that does the same for a click with the same code
(`systems/job.py`): what a service of this kind would cost on them. `quix_bytes` and the bare loops only copy lists and
states that were encoded beforehand (`systems/blobs.py`): the floor.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from deploy.local.kafka import KafkaBroker
from deploy.local.process import free_port
from serving.bundle import write_bundle
from stream.contract.topics import create_topics
from tests.benchmarks.drain import Drained, drain
from tests.benchmarks.kafka import Topics, new_name
from tests.benchmarks.processes import as_settings, nextclick_worker, running
from tests.benchmarks.results import CACHE, machine, middle, say, write
from tests.benchmarks.workload import ITEMS, SEED, SESSIONS, blobs, clicks, item_ids, job
from tests.tiny_bundle import tiny_contents


class System(NamedTuple):
    """A program, its own name for its changelog, what it does with a click, and what else it is told."""

    module: str
    changelog: str
    work: str = "blobs"
    arguments: tuple[str, ...] = ()


NULL_WORKER = "tests.benchmarks.systems.null_worker"
QUIX_CHANGELOG = "changelog__{group}--{clicks}--default"
SYSTEMS = {
    "nextclick": System("null_worker", "{group}-sessions-changelog"),
    # A checkpoint about as often, in time, as nextclick writes states, a tenth of a second apart ...
    "quix": System("quix_app", QUIX_CHANGELOG, "job", ("2048",)),
    # ... one that writes about as many states ...
    "quix_4096": System("quix_app", QUIX_CHANGELOG, "job", ("4096",)),
    # ... and as Quix comes, every five seconds: of a session that changes ten times in between one state is written.
    "quix_5s": System("quix_app", QUIX_CHANGELOG, "job", ("0",)),
    "quix_bytes": System("quix_app", QUIX_CHANGELOG, "blobs", ("2048",)),
    "faust": System("faust_stock", "{group}-states-changelog", "job"),
    "confluent": System("confluent_loop", "{group}-changelog"),
    "aiokafka": System("aiokafka_loop", "{group}-changelog", arguments=("aiokafka",)),
    "aiokafka_librdkafka": System("aiokafka_loop", "{group}-changelog", arguments=("librdkafka",)),
}
# Those that nobody makes a changelog for.
OWN_CHANGELOG = ("confluent", "aiokafka", "aiokafka_librdkafka")
# Other values of settings than their defaults, each measured beside them in the same repeat.
VARIANTS: tuple[tuple[str, Any], ...] = (
    ("kafka.compression", "none"),
    ("kafka.compression", "zstd"),
    ("kafka.linger_ms", 5),
    ("worker.batch_max_events", 64),
    ("worker.batch_max_events", 512),
)


def main() -> None:
    """Run the part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=270_000, help="clicks that each system answers in a run")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each system; the medians are reported")
    parser.add_argument("--quix", default=str(CACHE / "quix" / "bin" / "python"), help="a Python with Quix Streams")
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS, metavar="SYSTEM")
    parser.add_argument("--variants", type=int, default=3, help="runs of each other value of a setting")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(), "events": options.events, "sessions": SESSIONS, "seed": SEED}
    runs: dict[str, list[Drained]] = defaultdict(list)
    others: dict[tuple[str, Any], list[Drained]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaBroker() as broker,
        closing(Topics(broker.bootstrap_servers)) as topics,
    ):
        bench = Bench(topics, broker.folder / "data", Path(folder), options.events, options.quix)
        for repeat in range(options.repeats):
            for system in options.systems:
                drained = bench.run(system)
                runs[system].append(drained)
                say(f"run {repeat + 1}: {system} {drained.cpu_us_per_event:.2f} us of CPU per event")
            for setting, value in VARIANTS if repeat < options.variants else ():
                others[setting, value].append(bench.nextclick({setting: value}))
                say(f"{setting} = {value}: {others[setting, value][-1].cpu_us_per_event:.2f} us of CPU per event")
        details["written"] = bench.written
        details["disk_bytes_per_event"] = bench.disk.get("")
        details["settings"] = [
            {
                "setting": setting,
                "value": value,
                "cpu_us_per_event": middle(run.cpu_us_per_event for run in found),
                "disk_bytes_per_event": bench.disk[f"{setting} = {value}"],
            }
            for (setting, value), found in others.items()
        ]
    figures = {
        "cpu_us_per_event": {system: middle(run.cpu_us_per_event for run in runs[system]) for system in runs},
        "wall_us_per_event": {system: middle(run.wall_us_per_event for run in runs[system]) for system in runs},
    }
    details["runs"] = {system: [dataclasses.asdict(run) for run in runs[system]] for system in runs}
    write("framework", figures, details)


class Bench:
    """The clicks, and whoever answers them."""

    def __init__(self, topics: Topics, data: Path, folder: Path, events: int, quix: str) -> None:
        self._topics = topics
        self._data = data
        self._events = events
        self._quix = quix
        self._bundle = folder / "bundle"
        write_bundle(self._bundle, dataclasses.replace(tiny_contents(ITEMS, 64, 50), item_ids=item_ids()))
        self._folder = folder
        blobs().write(folder / "blobs")
        job().write(folder / "job")
        self.written: dict[str, dict[str, int]] = {}
        self.disk: dict[str, int] = {}
        self._clicks = self._topics.create(new_name("clicks"), {"message.timestamp.type": "LogAppendTime"})
        self._topics.fill(self._clicks, clicks(events))

    def run(self, system: str) -> Drained:
        """Let a system answer all clicks."""
        return self.nextclick({}) if system == "nextclick" else self._other(system)

    def nextclick(self, changed: dict[str, Any]) -> Drained:
        """Let a worker answer all clicks, with settings other than the defaults."""
        group, output = new_name("nextclick"), new_name("lists")
        settings = {
            "kafka.bootstrap_servers": self._topics.servers,
            "topics.clicks": self._clicks,
            "topics.recommendations": output,
            "worker.app_id": group,
        }
        settings |= changed
        create_topics(as_settings(settings))
        with nextclick_worker(self._bundle, settings, free_port(), NULL_WORKER) as worker:
            drained = drain(self._topics, output, group, self._clicks, worker.process.pid, self._events)
        self.disk[", ".join(f"{key} = {value}" for key, value in changed.items())] = self._disk(group, output)
        self._end("nextclick", group, output)
        return drained

    def _other(self, system: str) -> Drained:
        group = new_name(system)
        output = self._topics.create(f"{group}-output")
        changelog = self._changelog(system, group)
        if system in OWN_CHANGELOG:
            self._topics.create(changelog)
        python = self._quix if system.startswith("quix") else sys.executable
        command = [python, "-m", f"tests.benchmarks.systems.{SYSTEMS[system].module}"]
        command += [self._topics.servers, self._clicks, output, changelog, group]
        command += [str(self._folder / SYSTEMS[system].work), *SYSTEMS[system].arguments]
        with running(system, command) as process:
            process.wait_until(lambda: self._topics.end(output) > 0, 120)
            drained = drain(self._topics, output, group, self._clicks, process.pid, self._events)
        self._end(system, group, output)
        return drained

    def _end(self, system: str, group: str, output: str) -> None:
        """Note how many records there were and how large, in a system's first run, and free the disk."""
        changelog = self._changelog(system, group)
        if system not in self.written:
            self.written[system] = {
                "lists": self._topics.end(output),
                "list_bytes": self._topics.mean_bytes(output),
                "states": self._topics.end(changelog),
                "state_bytes": self._topics.mean_bytes(changelog),
            }
        self._topics.delete(output, changelog)

    def _disk(self, group: str, output: str) -> int:
        """Return how many bytes of the broker's disk lists and states take, for each event."""
        names = {output, self._changelog("nextclick", group)}
        files = [path for path in self._data.glob("*/*.log") if path.parent.name.rpartition("-")[0] in names]
        return sum(path.stat().st_size for path in files) // self._events

    def _changelog(self, system: str, group: str) -> str:
        return SYSTEMS[system].changelog.format(group=group, clicks=self._clicks)


if __name__ == "__main__":
    main()
