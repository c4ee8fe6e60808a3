"""CPU per event of a process that drains a topic which was filled before it started."""

import time
from dataclasses import dataclass

from tests.benchmarks.kafka import Topics
from tests.benchmarks.processes import cpu_s
from tests.waiting import wait_for

# What is not measured: start, first fetches, caches.
SKIPPED = 0.1
TIMEOUT_S = 900.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Drained:
    """One run."""

    events: int
    cpu_us_per_event: float
    wall_us_per_event: float


@dataclass(frozen=True)
class Look:
    """A process at one moment."""

    events: int
    cpu_s: float
    at_s: float


def drain(topics: Topics, output: str, group: str, clicks: str, pid: int, events: int) -> Drained:
    """Watch a process answer `events` clicks, each with one record in `output`.

    Measured from the first tenth until all is written, acknowledged and committed: what a system puts off until its
    commit is part of its cost.
    """
    looks: list[Look] = []

    def look() -> bool:
        looks.append(Look(topics.end(output), cpu_s(pid), time.monotonic()))
        return looks[-1].events >= events and topics.committed(group, clicks) >= events

    wait_for(look, TIMEOUT_S, every_s=LOOK_EVERY_S)
    first = next(look for look in looks if look.events >= events * SKIPPED)
    last = looks[-1]
    assert last.events == events, f"{output} has {last.events} records for {events} clicks"
    count = last.events - first.events
    return Drained(count, (last.cpu_s - first.cpu_s) / count * 1e6, (last.at_s - first.at_s) / count * 1e6)
