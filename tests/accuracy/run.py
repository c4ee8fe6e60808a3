"""Trains and measures one row from nothing: `python -m tests.accuracy.run ROW [--seeds 1 2 3]`.

Each seed's ranks are kept in `build/accuracy/ROW/` as soon as they are there, with all that they depend on, so that
`--resume` can go on with the next seed. When all seeds are done, the row takes its place in docs/accuracy.json.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl

from serving.ranks import gains, summary
from tests.accuracy.measure import rank, train
from tests.accuracy.rows import ROWS, Row
from tests.benchmarks.results import ROOT, machine, say
from tests.public_data import data_home
from training.data.protocol import parse_protocol
from training.evaluation.bootstrap import intervals
from training.evaluation.case_ranks import CaseRanks
from training.evaluation.compare import compare_ranks
from training.evaluation.terms import Terms
from training.identity import difference
from training.recipes import find_recipe, override

BUILD = ROOT / "build" / "accuracy"
TABLE = ROOT / "docs" / "accuracy.json"
# Not the ones that recipes were tuned on.
SEEDS = (1, 2, 3)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files in the order of their names."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def conditions(row: Row) -> dict[str, Any]:
    """Return what a figure depends on beside the seed, the data and the code."""
    recipe = override(find_recipe(row.recipe), row.overrides)
    protocol = next(iter(parse_protocol(recipe.protocol).cycles()))
    counted = Terms(protocol=protocol, exclude=recipe.exclude, ks=row.ks).counted
    return {
        "recipe": recipe.parameters(),
        "overrides": list(row.overrides),
        "protocol": recipe.protocol,
        "exclude": counted.exclude,
        "unknown_items": counted.unknown,
        "min_session_length": counted.min_session_length,
        "refit": row.refit,
        "data": row.data,
        **({"trials": row.trials} if row.trials else {}),
        **({"rival": asdict(row.rival)} if row.rival else {}),
    }


def figures(row: Row, measured: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return what a seed's ranks say: figures and intervals of every model, and how the last variant compares."""
    ranks = {name: CaseRanks(pl.read_parquet(home / f"{name}.parquet")) for name in measured["variants"]}
    ours = ranks[row.variants[-1]]
    metrics = [(metric, k) for k in row.ks for metric in ("recall", "mrr", "ndcg")]
    variants = {}
    for name, found in ranks.items():
        columns = np.column_stack([gains(found.ranks, metric, k) for metric, k in metrics])
        drawn = intervals(columns, found.clusters())
        variants[name] = {
            "test": summary(found.ranks, row.ks),
            "intervals": {f"{m}@{k}": [one.low, one.high] for (m, k), one in zip(metrics, drawn, strict=True)},
            "trainings": measured["variants"][name]["trainings"],
        }
    return {
        **{key: value for key, value in measured.items() if key not in ("conditions", "variants")},
        "cases": len(ours),
        "variants": variants,
        "against": {
            name: {"metric": row.metric, **asdict(compare_ranks(ours, found, row.metric).found)}
            for name, found in ranks.items()
            if found is not ours
        },
    }


def enter(name: str, row: Row, measured: Sequence[dict[str, Any]]) -> None:
    """Put a row with all its seeds into the table: their figures, and of each the mean and half the range."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    results = [figures(row, one, BUILD / name / f"seed-{one['seed']}") for one in measured]
    table[name] = {
        **measured[0]["conditions"],
        "command": f"make accuracy ROW={name}",
        "mean": {variant: _over(results, variant, fmean) for variant in results[0]["variants"]},
        "half_range": {
            variant: _over(results, variant, lambda v: (max(v) - min(v)) / 2) for variant in results[0]["variants"]
        },
        "seeds": results,
    }
    TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n")


def _over(results: Sequence[dict[str, Any]], variant: str, total: Callable[[list[float]], float]) -> dict[str, float]:
    metrics = results[0]["variants"][variant]["test"]
    return {metric: total([result["variants"][variant]["test"][metric] for result in results]) for metric in metrics}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--resume", action="store_true", help="keep the seeds that an earlier run has measured")
    parser.add_argument("--rank", action="store_true", help="with --resume: rank again with the bundles that are there")
    parser.add_argument("--no-table", action="store_true", help="measure, and leave docs/accuracy.json as it is")
    options = parser.parse_args(arguments)
    row, folder = ROWS[options.row], BUILD / options.row
    if not (data_home() / row.data).exists():
        print(f"{data_home() / row.data} is not there: name the data's folder in $NEXTCLICK_TEST_DATA", file=sys.stderr)
        return 2
    if not options.resume:
        shutil.rmtree(folder, ignore_errors=True)
    now = {**conditions(row), "data_sha256": sha256_of(data_home() / row.data)}
    measured = []
    for seed in options.seeds:
        kept, home = folder / f"seed-{seed}.json", folder / f"seed-{seed}"
        if not kept.exists():
            say(f"{options.row}, seed {seed}")
            _write(kept, {**_trained(row, seed, home), "conditions": now})
        one = json.loads(kept.read_text())
        if differs := difference(one["conditions"], now):
            print(f"{kept} was measured otherwise: {differs}; measure the row anew, without --resume", file=sys.stderr)
            return 2
        if options.rank or "ranked" not in one:
            rank(row, home)
            one["ranked"] = machine()["commit"]
            _write(kept, one)
        measured.append(one)
        found = figures(row, one, home)
        say(json.dumps({name: model["test"] for name, model in found["variants"].items()}))
    if not options.no_table:
        enter(options.row, row, measured)
    return 0


def _trained(row: Row, seed: int, home: Path) -> dict[str, Any]:
    """Train with one seed, and say when, where, how long and by which code."""
    here, began = machine(), time.monotonic()
    trainings = train(row, seed, home)
    return {
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "variants": {model: {"trainings": found} for model, found in trainings.items()},
        "date": datetime.now(UTC).date().isoformat(),
        "commit": here["commit"],
        "machine": {key: here[key] for key in ("cpu", "cores", "python")},
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
