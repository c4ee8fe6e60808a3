"""What a click costs in `stream.pipeline`, up to the bytes of its list and state: no Kafka, one thread, us of CPU.

    .venv/bin/python -m tests.benchmarks.micro_compute [--recommender null|gru] [--items N] [--factory FLAT] ...

`null` is the worker of `bench-framework`: neither encoder nor index, lists that were made beforehand. `gru` is a GRU of
64 numbers with random weights over random items. Prints a line for each size of batch, and all of it as JSON.
"""

import argparse
import dataclasses
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from serving.bundle import Bundle, write_bundle
from serving.control import Control
from serving.events import Click, encode_click
from serving.recommender import Recommender
from serving.settings import ServingSettings
from stream.contract.incoming import Incoming
from stream.pipeline.compute import Computer
from stream.pipeline.publish import answers
from stream.settings import TopicSettings
from tests.benchmarks.systems.null_worker import NullRecommender
from tests.tiny_bundle import tiny_contents

BATCHES = (1, 16, 256)
# `process` holds `encode` and `search`.
STAGES = ("decode", "state", "process", "encode", "search")
START_MS = 1_780_000_000_000
TOPICS = TopicSettings()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="CPU per click of decoding, folding, encoding, searching, writing.")
    parser.add_argument("--recommender", choices=("null", "gru"), default="null")
    parser.add_argument("--items", type=int, default=10_000, help="items of the catalogue")
    parser.add_argument("--factory", default="Flat", help="FAISS's factory string")
    parser.add_argument("--sessions", type=int, default=10_000, help="live sessions")
    parser.add_argument("--length", type=int, default=20, help="clicks of each session before it is measured")
    parser.add_argument("--clicks", type=int, default=20_000, help="clicks of one measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of which the median is told")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        figures = [bench.measure(size) for size in BATCHES]
    print(json.dumps({**vars(options), "state_bytes": bench.state_bytes(), "batches": figures}))


class Bench:
    """Sessions, and clicks for them."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._choose = random.Random(4)
        self._items = [f"{self._choose.getrandbits(96):024x}" for _ in range(options.items)]
        made = Recommender if options.recommender == "gru" else NullRecommender
        recommender = made(_bundle(folder / "bundle", self._items, options.factory), ServingSettings())
        self._states: dict[bytes, bytes] = {}
        self._computer = Computer(recommender, self._state_of, partitions=4)
        self._offset = 0
        sessions = [f"session-{number:06d}" for number in range(options.sessions)]
        self._sessions = sessions
        for _ in range(options.length):
            self._play(self._records(sessions), 256)
        self._begun = self._states

    def measure(self, size: int) -> dict[str, float]:
        """Return the CPU of a click in batches of one size, in all and by stage, in microseconds."""
        runs = []
        for _ in range(self._options.repeats):
            records = list(self._records(self._choose.choices(self._sessions, k=self._options.clicks)))
            self._states = dict(self._begun)
            seconds = self._play(records, size)
            # The stages are timed by the clock on the wall, which runs on while others have the core.
            scale = seconds["cpu"] / seconds["wall"] / len(records) * 1e6
            runs.append({"total": seconds["wall"] * scale} | {stage: seconds[stage] * scale for stage in STAGES})
        middle = {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
        print(f"batches of {size:3}:", "  ".join(f"{name} {value:6.2f}" for name, value in middle.items()))
        return {"size": size, **middle}

    def state_bytes(self) -> int:
        """Return the mean size of a session's state."""
        return round(statistics.mean(len(state) for state in self._begun.values()))

    def _state_of(self, partition: int, key: bytes) -> bytes | None:
        return self._states.get(key)

    def _records(self, sessions: Iterable[str]) -> Iterator[Incoming]:
        for session in sessions:
            event, at_ms = f"event-{self._offset:08d}", START_MS + self._offset
            click = Click(event, session, self._choose.choice(self._items), at_ms)
            yield Incoming(0, self._offset, at_ms, session.encode(), encode_click(click), ())
            self._offset += 1

    def _play(self, records: Iterable[Incoming], size: int) -> Mapping[str, float]:
        waiting = list(records)
        seconds: defaultdict[str, float] = defaultdict(float)
        for start in range(0, len(waiting), size):
            batch = waiting[start : start + size]
            began, cpu = time.perf_counter(), time.process_time()
            outcome = self._computer.compute(batch, Control())
            for _ in answers(outcome, TOPICS):
                pass
            spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - began, **outcome.seconds}
            for name, value in spent.items():
                seconds[name] += value
            self._states.update(outcome.states[0])
        return seconds


def _bundle(folder: Path, items: Sequence[str], factory: str) -> Bundle:
    contents = tiny_contents(len(items), 64, 50, factory)
    return write_bundle(folder, dataclasses.replace(contents, item_ids=items))


if __name__ == "__main__":
    main()
