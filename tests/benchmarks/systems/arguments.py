"""The command line that all systems share: SERVERS CLICKS OUTPUT CHANGELOG GROUP WORK."""

import sys
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.systems.blobs import Blobs
from tests.benchmarks.systems.job import Job
from tests.benchmarks.systems.work import Work


class Arguments(NamedTuple):
    """Where a system reads and writes, and what it does with a click.

    Quix Streams and Faust name their changelogs themselves.
    """

    servers: str
    clicks: str
    output: str
    changelog: str
    group: str
    work: Work


def read_arguments() -> Arguments:
    """Read the command line."""
    servers, clicks, output, changelog, group, work = sys.argv[1:7]
    kinds: dict[str, type[Work]] = {"blobs": Blobs, "job": Job}
    return Arguments(servers, clicks, output, changelog, group, kinds[Path(work).name].read(work))
