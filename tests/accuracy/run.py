"""Trains and measures one row from nothing: `python -m tests.accuracy.run ROW [--seeds 0 1 2]`.

Each seed's figures are kept in `build/accuracy/ROW/` as soon as they are there, with all that they depend on, so that
`--resume` can go on with the next seed. When all seeds are done, the row takes its place in docs/accuracy.json.
"""

import argparse
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from serving.bundle import Bundle, load_bundle
from serving.ranks import summary
from tests.accuracy.rows import ROWS, Row, Variant
from tests.benchmarks.results import ROOT, machine, say
from tests.public_data import data_home
from training.checkpoint import checkpoints_of
from training.data.dataset import read_test, read_training
from training.data.protocol import parse_protocol
from training.evaluation.case_ranks import CaseRanks, case_ranks, pool
from training.evaluation.compare import compare_ranks
from training.evaluation.protocols import make_task, rank_bundle
from training.evaluation.terms import Terms
from training.identity import difference
from training.recipes import find_recipe, override
from training.recipes.recipe import Recipe
from training.refit import read_chosen
from training.train import Trained, train_bundle

BUILD = ROOT / "build" / "accuracy"
TABLE = ROOT / "docs" / "accuracy.json"


def measure(name: str, row: Row, seed: int) -> dict[str, Any]:
    """Train every variant of a row with one seed and return their figures; case ranks are left beside."""
    began, recipe = time.monotonic(), override(find_recipe(row.recipe), row.overrides)
    home = BUILD / name / f"seed-{seed}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    protocol = parse_protocol(recipe.protocol)
    ranks: dict[Variant, list[CaseRanks]] = {variant: [] for variant in row.variants}
    figures: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in row.variants}
    chosen: dict[Variant, Path] = {}
    for number, cycle in enumerate(protocol.cycles()):
        own, folder = replace(recipe, protocol=str(cycle)), home / f"cycle-{number}"
        if not row.refit or not chosen:
            chosen = _train(own, row, seed, folder)
        bundles = _refit(own, row, seed, chosen, folder) if row.refit else chosen
        for variant, out in bundles.items():
            bundle = load_bundle(out)
            ranks[variant].append(_rank(bundle, own, row))
            figures[variant].append({"bundle": bundle.id, **bundle.manifest.metrics})
    pooled = {variant: pool(parts) for variant, parts in ranks.items()}
    for variant, found in pooled.items():
        found.write(home / f"{variant}.parquet")
    result: dict[str, Any] = {
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "cases": len(next(iter(pooled.values()))),
        "variants": {
            variant: {"test": summary(found.ranks, row.ks), "trainings": figures[variant]}
            for variant, found in pooled.items()
        },
    }
    if row.against is not None:
        compared = compare_ranks(pooled[row.variants[-1]], pooled[row.against], row.metric)
        result["difference"] = {"metric": row.metric, "against": row.against, **asdict(compared.found)}
    return result


def _train(recipe: Recipe, row: Row, seed: int, folder: Path) -> dict[Variant, Path]:
    """Train once and write the bundle of each variant: what has an encoder goes on from the same checkpoint."""
    training = read_training(data_home() / row.data, parse_protocol(recipe.protocol), recipe.preparation)
    trained = folder / "trained"
    for variant in row.variants:
        out, own = folder / variant, _variant(recipe, variant)
        again = own.model is not None and trained.exists()
        if again:
            shutil.copytree(trained, checkpoints_of(out))
        _tell(variant, train_bundle, own, training, seed=seed, out=out, resume=again)
        if own.model is not None and not again:
            shutil.copytree(checkpoints_of(out), trained)
    return {variant: folder / variant for variant in row.variants}


def _refit(recipe: Recipe, row: Row, seed: int, chosen: dict[Variant, Path], folder: Path) -> dict[Variant, Path]:
    """Train each variant on all that is earlier than the test, with what was chosen (once, before the first test)."""
    path, protocol = data_home() / row.data, parse_protocol(recipe.protocol)
    training = read_training(path, protocol, recipe.preparation, refit=True)
    found: dict[Variant, Path] = {}
    for variant, bundle in chosen.items():
        out, own = folder / f"{variant}-refitted", _variant(recipe, variant)
        # A later cycle has another name than the one that was chosen on, and is the same recipe in all else.
        choice = read_chosen(bundle, replace(own, protocol=load_bundle(bundle).manifest.recipe["protocol"]))
        _tell(variant, train_bundle, own, training, seed=seed, out=out, refit=choice)
        found[variant] = out
    return found


def _tell(variant: Variant, train: Callable[..., Trained], recipe: Recipe, *arguments: Any, **named: Any) -> None:
    """Train, and say how long it took and what validation said."""
    began = time.monotonic()
    bundle = train(recipe, *arguments, **named).bundle
    shown = {
        part: {name: round(value, 4) for name, value in figures.items() if name in ("hr@20", "mrr@20", "ndcg@20")}
        for part, figures in bundle.manifest.metrics.items()
    }
    say(f"  {variant} of {recipe.protocol}: {time.monotonic() - began:.0f} s, {json.dumps(shown)}")


def _variant(recipe: Recipe, variant: Variant) -> Recipe:
    if variant == "encoder":
        return replace(recipe, counters=())
    return replace(recipe, model=None) if variant == "counters" else recipe


def _rank(bundle: Bundle, recipe: Recipe, row: Row) -> CaseRanks:
    """Rank the test cases by the lists that a worker would show."""
    path, protocol = data_home() / row.data, parse_protocol(recipe.protocol)
    training = read_training(path, protocol, recipe.preparation, refit=row.refit)
    held_out = read_test(path, protocol, recipe.preparation)
    terms = Terms(protocol=protocol, exclude=recipe.exclude, ks=row.ks)
    task = make_task(held_out, training, bundle, terms)
    return case_ranks(task.held_out, task.cases, rank_bundle(bundle, task, terms).ranks)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files in the order of their names."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def conditions(row: Row) -> dict[str, Any]:
    """Return what a figure depends on beside the seed: recipe, data and code."""
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
        "data_sha256": sha256_of(data_home() / row.data),
        "commit": machine()["commit"],
    }


def enter(name: str, results: Sequence[dict[str, Any]]) -> None:
    """Put a row with all its seeds into the table: their figures, and of each the mean and half the range."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    shown = {key: value for key, value in machine().items() if key in ("cpu", "cores", "python")}
    variants = results[0]["variants"]
    table[name] = {
        **results[0]["conditions"],
        "machine": shown,
        "mean": {variant: _over(results, variant, fmean) for variant in variants},
        "half_range": {variant: _over(results, variant, lambda v: (max(v) - min(v)) / 2) for variant in variants},
        "seeds": [{key: value for key, value in result.items() if key != "conditions"} for result in results],
    }
    TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n")


def _over(results: Sequence[dict[str, Any]], variant: str, total: Callable[[list[float]], float]) -> dict[str, float]:
    metrics = results[0]["variants"][variant]["test"]
    return {metric: total([result["variants"][variant]["test"][metric] for result in results]) for metric in metrics}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--resume", action="store_true", help="keep the seeds that an earlier run has measured")
    options = parser.parse_args(arguments)
    row, folder = ROWS[options.row], BUILD / options.row
    if not (data_home() / row.data).exists():
        print(f"{data_home() / row.data} is not there: name the data's folder in $NEXTCLICK_TEST_DATA", file=sys.stderr)
        return 2
    if not options.resume:
        shutil.rmtree(folder, ignore_errors=True)
    now, results = conditions(row), []
    for seed in options.seeds:
        kept = folder / f"seed-{seed}.json"
        if not kept.exists():
            say(f"{options.row}, seed {seed}")
            found = {**measure(options.row, row, seed), "date": datetime.now(UTC).date().isoformat()}
            kept.write_text(json.dumps({**found, "command": shlex.join(sys.argv), "conditions": now}, indent=2) + "\n")
        results.append(json.loads(kept.read_text()))
        if differs := difference(results[-1]["conditions"], {**now, "commit": results[-1]["conditions"]["commit"]}):
            print(f"{kept} was measured otherwise: {differs}; measure the row anew, without --resume", file=sys.stderr)
            return 2
        say(json.dumps({variant: found["test"] for variant, found in results[-1]["variants"].items()}))
    enter(options.row, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
