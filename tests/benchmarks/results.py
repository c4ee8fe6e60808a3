"""The figures of a part, and under what conditions they came about."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from deploy.local.java import KAFKA_VERSION

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "benchmarks"
CACHE = RESULTS / "cache"
PACKAGES = ("faust-streaming", "aiokafka", "confluent-kafka", "msgspec", "numpy", "faiss-cpu", "onnxruntime")


def machine(*, broker: bool = True) -> dict[str, Any]:
    """Return what the figures depend on beside the code; `broker` says whether one took part."""
    return {
        "cpu": _first_line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gb": round(int(_first_line("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "broker": f"Apache Kafka {KAFKA_VERSION}, one node, on the same cores" if broker else None,
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
        # What else was running: latencies are worth little where this is near the number of cores.
        "load_average_before": os.getloadavg()[0],
    }


def write(part: str, figures: Any, details: dict[str, Any]) -> None:
    """Write `PART.json` and `PART.details.json`, and say where."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    details["machine"]["load_average_after"] = os.getloadavg()[0]
    for name, content in ((f"{part}.json", figures), (f"{part}.details.json", details)):
        (RESULTS / name).write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    print(f"written to {RESULTS / part}.json", flush=True)


def middle(values: Iterable[float], digits: int = 2) -> float:
    """Return the median, rounded as far as the measurement is worth."""
    return round(median(values), digits)


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, flush=True)


def _first_line(path: str, name: str) -> str:
    lines = (line.partition(":") for line in Path(path).read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "unknown")


def _commit() -> str:
    """Return what code ran; pages that figures are written to are no part of it."""
    changes = _git("status", "--porcelain", "-uno", "--", ":!docs")
    return _git("rev-parse", "--short", "HEAD") + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")
