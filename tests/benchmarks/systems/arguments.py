"""The command line that all systems share: SERVERS CLICKS OUTPUT CHANGELOG GROUP BLOBS."""

import sys
from typing import NamedTuple

from tests.benchmarks.systems.blobs import Blobs


class Arguments(NamedTuple):
    """Where a system reads and writes. Quix Streams and Faust name their changelogs themselves."""

    servers: str
    clicks: str
    output: str
    changelog: str
    group: str
    blobs: Blobs


def read_arguments() -> Arguments:
    """Read the command line."""
    servers, clicks, output, changelog, group, blobs = sys.argv[1:7]
    return Arguments(servers, clicks, output, changelog, group, Blobs.read(blobs))
