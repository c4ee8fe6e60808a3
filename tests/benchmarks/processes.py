"""Processes that are measured: started from a command line, gone with their folder when the block is left."""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deploy.demo.worker import to_toml
from deploy.local.process import BackgroundProcess, Guard
from stream.settings import Settings
from stream.settings.sources import PREFIX
from tests.benchmarks.results import ROOT
from tests.end_to_end.service import get

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
START_S = 180.0


class Ended(NamedTuple):
    """What a process took."""

    seconds: float
    cpu_seconds: float
    peak_gb: float
    output: str


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used so far, user and kernel, all threads; 10 ms are its grain."""
    # The name in parentheses may hold spaces; the numbers follow it, utime and stime as the 12th and 13th.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


@contextmanager
def running(name: str, command: Sequence[str], log: Path | None = None) -> Iterator[BackgroundProcess]:
    """Run a program in the repository's root, without settings from our own environment."""
    guard = Guard(name)
    log = log or guard.folder / f"{name}.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    with closing(guard):
        process = BackgroundProcess(name, command, log=log, guard=guard, env=env)
        try:
            yield process
        finally:
            process.kill()


class NextclickWorker:
    """`nextclick worker` as it is run in production; or with the module named, which puts another part into it."""

    def __init__(self, process: BackgroundProcess, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def metrics(self) -> dict[str, float]:
        """Return every sample of /metrics by its series."""
        lines = (line.rpartition(" ") for line in get(f"{self.url}/metrics")[1].splitlines() if line[:1] != "#")
        return {series: float(value) for series, _, value in lines}


@contextmanager
def nextclick_worker(
    bundle: Path, settings: Mapping[str, Any], port: int, module: str = "deploy"
) -> Iterator[NextclickWorker]:
    """Run a worker; it is ready when the block is entered.

    `settings` are by dotted key. It is killed at the end: no part of what is measured lies behind that.
    """
    guard = Guard("settings")
    with closing(guard):
        config = guard.folder / "worker.toml"
        config.write_text(to_toml(dict(settings) | {"monitoring.port": port}))
        command = [sys.executable, "-m", module, "--config", str(config), "worker", "--bundle", str(bundle)]
        with running("nextclick", command) as process:
            worker = NextclickWorker(process, port)
            process.wait_until(lambda: _is_ready(worker), START_S)
            yield worker


def _is_ready(worker: NextclickWorker) -> bool:
    try:
        return get(f"{worker.url}/ready")[0] == 200
    except OSError:
        return False


def as_settings(flat: dict[str, Any]) -> Settings:
    """Return settings from dotted keys."""
    tree: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in flat.items():
        group, _, name = key.partition(".")
        tree[group][name] = value
    return Settings.model_validate(tree)


def finish(arguments: Sequence[str]) -> Ended:
    """Run Python to its end, and return what it took; its errors pass through.

    Its largest memory is no less than what this process has now: the kernel counts from before the program begins.
    """
    began = time.monotonic()
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with status {process.returncode}")
    seconds = time.monotonic() - began
    return Ended(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, output)
