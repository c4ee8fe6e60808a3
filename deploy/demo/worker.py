"""A worker in a process of its own: the very command that production runs."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local.errors import LocalBrokerError
from deploy.local.process import BackgroundProcess, Guard, free_port
from stream.settings.sources import PREFIX

READY_TIMEOUT_S = 60.0


class WorkerProcess:
    """`nextclick worker`, ready when the `with` block is entered and gone when it is left.

    Args:
        bundle: the bundle's directory.
        settings: settings by dotted key, written to a configuration file.

    """

    def __init__(self, bundle: Path, settings: Mapping[str, Any]) -> None:
        self._bundle = bundle
        self._settings = settings
        self.port = free_port()
        self._guard = Guard("worker")
        self._process: BackgroundProcess | None = None

    @property
    def metrics_url(self) -> str:
        """Where it answers Prometheus."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Raise `LocalBrokerError`, with its last words, if it has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            raise LocalBrokerError(
                f"the worker ended with exit code {self._process.returncode}. {self._process.last_lines()}"
            )

    def close(self) -> None:
        """End it: SIGTERM, so that it commits and leaves its group."""
        if self._process is not None and self._process.returncode is None:
            self._process.stop(timeout_s=15)
        self._guard.close()

    def _start(self) -> None:
        folder = self._guard.folder
        config = folder / "worker.toml"
        settings = dict(self._settings) | {"monitoring.port": self.port}
        config.write_text(to_toml(settings))
        command = [sys.executable, "-m", "deploy", "--config", str(config), "worker", "--bundle", str(self._bundle)]
        self._process = BackgroundProcess(
            "the worker", command, log=folder / "worker.log", guard=self._guard, env=_environment()
        )
        self._process.wait_until(self._ready, READY_TIMEOUT_S)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=1) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write settings by dotted key as the TOML that `--config` reads."""
    # A number or a truth value looks the same in JSON and TOML, and so does a string: JSON's escapes are TOML's.
    plain = {key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in settings.items()}
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items())


def _environment() -> dict[str, str]:
    """Return ours without settings: `settings` are all resolved, and variables would win over the file."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
