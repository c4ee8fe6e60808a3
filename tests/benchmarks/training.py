"""What training costs: a catalogue of a million items from clicks to bundle, and the recipe of the demo.

    .venv/bin/python -m tests.benchmarks.training [--items 1000000] [--steps 30] [--repeats 3]

The large catalogue is random clicks in which every item occurs: its sizes are real, its figures mean nothing. Each
training and each measurement of a step is a process of its own, whose largest memory the kernel tells.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from tests.benchmarks.processes import finish
from tests.benchmarks.results import CACHE, machine, middle, say, write

RECIPE = "rsc15_100k"
SETTINGS = ("model.dim=64", "model.hidden=64", "loop.epochs=1", "index=HNSW16 efConstruction=100,efSearch=32")
CLICKS_PER_ITEM = 2.5
CLICKS_PER_SESSION = 5
BEGIN_MS, STEP_MS = 1_780_000_000_000, 250


def main() -> None:
    """Measure, and write the page's figures."""
    parser = argparse.ArgumentParser(description="Time and memory of training.")
    parser.add_argument("--items", type=int, default=1_000_000, help="items of the large catalogue")
    parser.add_argument("--steps", type=int, default=30, help="steps of which the median is told")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of which the median is told")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(broker=False), "options": vars(options), "runs": []}
    figures = {
        "steps": _steps(options, details["runs"]),
        "large": _large(options.items, details["runs"]),
        "quick": _quick(options.repeats, details["runs"]),
    }
    write("training", figures, details)


def _steps(options: argparse.Namespace, runs: list[Any]) -> list[dict[str, Any]]:
    """Return what a step costs with sparse and with dense steps of the tables, in turns."""
    found: dict[str, list[dict[str, float]]] = {"sparse": [], "dense": []}
    for _ in range(options.repeats):
        for tables, measured in found.items():
            arguments = ["--items", options.items, "--steps", options.steps, "--tables", tables]
            ended = finish(["-m", "tests.benchmarks.training_step", *map(str, arguments)])
            measured.append(json.loads(ended.output.splitlines()[-1])["figures"])
            runs.append({"tables": tables, **measured[-1]})
            say(f"a step, {tables}: {measured[-1]}")
    return [
        {"tables": tables, **{key: middle([one[key] for one in measured], 1) for key in measured[0]}}
        for tables, measured in found.items()
    ]


def _large(items: int, runs: list[Any]) -> dict[str, Any]:
    """Return what one epoch, the validation, the counters with their blend, the index and the bundle take together."""
    CACHE.mkdir(parents=True, exist_ok=True)
    log = CACHE / f"random-{items}.parquet"
    clicks = _write_random(log, items)
    with TemporaryDirectory(dir=CACHE) as folder:
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        ended = finish(
            ["-m", "deploy", "train", RECIPE, "--data", str(log), "--out", str(Path(folder) / "bundle"), *settings]
        )
        size = sum(file.stat().st_size for file in (Path(folder) / "bundle").iterdir())
    figures = {
        "items": items,
        "clicks": clicks,
        "seconds": round(ended.seconds),
        "cpu_seconds": round(ended.cpu_seconds),
        "peak_gb": round(ended.peak_gb, 2),
        "bundle_mb": round(size / 1e6),
    }
    runs.append({"large": figures, "output": ended.output})
    say(f"{figures}")
    return figures


def _quick(repeats: int, runs: list[Any]) -> dict[str, Any]:
    """Return how long the demo's recipe takes on the demo's shop."""
    with TemporaryDirectory(dir=CACHE) as folder:
        shop = Path(folder) / "shop.jsonl"
        finish(["-m", "deploy", "generate", "--out", str(shop)])
        found = [
            finish(["-m", "deploy", "train", "quick", "--data", str(shop), "--out", str(Path(folder) / f"bundle-{n}")])
            for n in range(repeats)
        ]
    runs += [{"quick": ended.seconds, "cpu_seconds": ended.cpu_seconds, "peak_gb": ended.peak_gb} for ended in found]
    figures = {
        "seconds": middle([ended.seconds for ended in found], 0),
        "peak_gb": middle([ended.peak_gb for ended in found]),
    }
    say(f"quick: {figures}")
    return figures


def _write_random(path: Path, items: int) -> int:
    """Write random clicks in which every item occurs, most of them on few items, and return how many."""
    random = np.random.default_rng(0)
    more = items * random.random(int(items * (CLICKS_PER_ITEM - 1))) ** 3
    # All of them among the first 60 %, so that none is in the held-out clicks alone.
    first, later = np.split(more.astype(np.int64), [len(more) // 3])
    clicked = np.concatenate([random.permutation(np.concatenate([np.arange(items), first])), later])
    place = np.arange(len(clicked))
    frame = pl.DataFrame(
        {
            "session_id": place // CLICKS_PER_SESSION,
            "item_id": clicked,
            "timestamp": BEGIN_MS + STEP_MS * place,
        }
    )
    frame.with_columns(pl.col("session_id", "item_id").cast(pl.String)).write_parquet(path)
    return len(clicked)


if __name__ == "__main__":
    main()
