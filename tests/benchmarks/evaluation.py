"""What `nextclick evaluate` costs: a bundle's lists, four baselines over the whole catalogue, and the bootstrap.

    .venv/bin/python -m tests.benchmarks.evaluation [--repeats 3]

The recipes of both data sets, trained for one epoch: how long an evaluation takes does not hang on how good the lists
are. Each evaluation is a process of its own.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serving.bundle import load_bundle
from tests.benchmarks.processes import finish
from tests.benchmarks.results import CACHE, machine, middle, say, write
from tests.public_data import data_home

TASKS = {"diginetica": "diginetica-weeks", "ml1m": "ml-1m/ml-1m.txt.gz"}
"""Data sets by the recipe that is evaluated on them, each by the recipe's own protocol."""


def main() -> None:
    """Measure, and write the page's figures."""
    parser = argparse.ArgumentParser(description="Time of an evaluation beside four baselines.")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of which the median is told")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(broker=False), "options": vars(options), "runs": []}
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=CACHE) as folder:
        figures = [_evaluated(recipe, Path(folder) / recipe, options.repeats, details["runs"]) for recipe in TASKS]
    write("evaluation", figures, details)


def _evaluated(recipe: str, bundle: Path, repeats: int, runs: list[Any]) -> dict[str, Any]:
    """Train for one epoch, evaluate, and return what the evaluations took."""
    data, report = str(data_home() / TASKS[recipe]), bundle.with_suffix(".json")
    finish(["-m", "deploy", "train", recipe, "--data", data, "--out", str(bundle), "--set", "loop.epochs=1"])
    command = ["-m", "deploy", "evaluate", str(bundle), "--data", data, "--json", str(report)]
    found = [finish(command) for _ in range(repeats)]
    told = json.loads(report.read_text())
    figures = {
        "data": TASKS[recipe],
        "cases": told["cases"],
        "items": len(load_bundle(bundle).catalogue),
        "models": len(told["rows"]),
        "seconds": middle([ended.seconds for ended in found], 1),
        "cpu_seconds": middle([ended.cpu_seconds for ended in found], 1),
        "peak_gb": middle([ended.peak_gb for ended in found]),
    }
    runs += [{"data": TASKS[recipe], "seconds": ended.seconds, "cpu_seconds": ended.cpu_seconds} for ended in found]
    say(f"{figures}")
    return figures


if __name__ == "__main__":
    main()
