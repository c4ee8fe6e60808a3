"""Trains the variants of a row, and what they are compared with, and ranks the row's test cases with each."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.bundle import Bundle, load_bundle
from tests.accuracy.outside import ranks_outside, train_outside
from tests.accuracy.rows import Outside, Row, Tuned, Variant
from tests.benchmarks.results import say
from tests.public_data import data_home
from training.checkpoint import checkpoints_of
from training.data.dataset import read_test, read_training
from training.data.protocol import parse_protocol
from training.data.splits import Training
from training.evaluation.case_ranks import CaseRanks, case_ranks, pool
from training.evaluation.protocols import make_task, rank_bundle
from training.evaluation.terms import Terms
from training.recipes import SPACES, find_recipe, override
from training.recipes.recipe import Recipe
from training.refit import read_chosen
from training.train import Trained, train_bundle
from training.tune import Plan, build_space, search

Trainings = dict[str, list[dict[str, Any]]]
"""By model, its bundle's id and figures of validation; several where there are several cycles."""


def train(row: Row, seed: int, home: Path) -> Trainings:
    """Train every model of a row with one seed; its bundles are left in `home`."""
    recipe = _recipe(row)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    cycles = list(parse_protocol(recipe.protocol).cycles())
    first = replace(recipe, protocol=str(cycles[0]))
    if row.trials:
        first = _searched(first, row, row.trials, seed, home / "search")
    recipes = {str(variant): _variant(first, variant) for variant in row.variants}
    if isinstance(row.rival, Tuned):
        recipes[row.rival.name] = _searched(_under(first, row.rival), row, row.rival.trials, seed, home / "rival")
    trainings: Trainings = {}
    chosen: dict[str, Path] = {}
    for cycle, folder in zip(cycles, _folders(home, len(cycles)), strict=True):
        own = {name: replace(one, protocol=str(cycle)) for name, one in recipes.items()}
        if not row.refit or not chosen:
            chosen = _train(own, row, seed, folder)
        if row.refit:
            _refit(own, row, seed, chosen, folder)
        for name in own:
            bundle = load_bundle(folder / _out(name, row))
            needs = {"needs": list(bundle.manifest.needs)} if bundle.manifest.needs else {}
            trainings.setdefault(name, []).append({"bundle": bundle.id, **needs, **bundle.manifest.metrics})
    if isinstance(row.rival, Outside):
        trainings[row.rival.name] = [train_outside(row.rival, data_home() / row.data)]
    return trainings


def rank(row: Row, home: Path) -> None:
    """Rank the row's cases with the models that were trained; the ranks are left in `home`, as NAME.parquet."""
    recipe = _recipe(row)
    cycles = list(parse_protocol(recipe.protocol).cycles())
    cases: CaseRanks | None = None
    for name in [*row.variants, *([row.rival.name] if isinstance(row.rival, Tuned) else [])]:
        cases = pool(
            [
                _rank(load_bundle(folder / _out(name, row)), replace(recipe, protocol=str(cycle)), row)
                for cycle, folder in zip(cycles, _folders(home, len(cycles)), strict=True)
            ]
        )
        cases.write(home / f"{name}.parquet")
    if isinstance(row.rival, Outside) and cases is not None:
        ranks_outside(row.rival, data_home() / row.data, cases).write(home / f"{row.rival.name}.parquet")


def _recipe(row: Row) -> Recipe:
    return override(find_recipe(row.recipe), row.overrides)


def _folders(home: Path, cycles: int) -> list[Path]:
    return [home / f"cycle-{number}" for number in range(cycles)]


def _out(name: str, row: Row) -> str:
    return f"{name}-refitted" if row.refit else name


def _under(recipe: Recipe, rival: Tuned) -> Recipe:
    """Return the rival's recipe under the terms of ours."""
    return replace(
        find_recipe(rival.recipe),
        protocol=recipe.protocol,
        preparation=recipe.preparation,
        exclude=recipe.exclude,
        window=recipe.window,
    )


def _searched(recipe: Recipe, row: Row, trials: int, seed: int, out: Path) -> Recipe:
    """Return the recipe with the counters' values that are best on the validation part, blended with its encoder."""
    began = time.monotonic()
    specs = {key: spec for key, spec in SPACES[recipe.name].items() if key.startswith("counters.")}
    plan = Plan(recipe=recipe, space=build_space(recipe, specs, [], []), trials=trials, seed=seed)
    found = search(plan, _training(recipe, row), out)
    assert found.best is not None  # a search without a figure raises
    say(f"  {recipe.name}: {trials} trials, {time.monotonic() - began:.0f} s, {' '.join(found.best.set)}")
    return override(recipe, found.best.set)


def _train(recipes: Mapping[str, Recipe], row: Row, seed: int, folder: Path) -> dict[str, Path]:
    """Train each and return the bundles: those with an encoder are variants of one recipe and share its checkpoint."""
    trained = folder / "trained"
    for name, own in recipes.items():
        out, again = folder / name, own.model is not None and trained.exists()
        if again:
            shutil.copytree(trained, checkpoints_of(out))
        _tell(name, train_bundle, own, _training(own, row), seed=seed, out=out, resume=again)
        if own.model is not None and not again:
            shutil.copytree(checkpoints_of(out), trained)
    return {name: folder / name for name in recipes}


def _refit(recipes: Mapping[str, Recipe], row: Row, seed: int, chosen: Mapping[str, Path], folder: Path) -> None:
    """Train each on all that is earlier than the test, with what was chosen (once, before the first test)."""
    for name, bundle in chosen.items():
        own = recipes[name]
        # A later cycle has another name than the one that was chosen on, and is the same recipe in all else.
        choice = read_chosen(bundle, replace(own, protocol=load_bundle(bundle).manifest.recipe["protocol"]))
        out = folder / _out(name, row)
        _tell(name, train_bundle, own, _training(own, row, refit=True), seed=seed, out=out, refit=choice)


def _training(recipe: Recipe, row: Row, *, refit: bool = False) -> Training:
    return read_training(data_home() / row.data, parse_protocol(recipe.protocol), recipe.preparation, refit=refit)


def _tell(name: str, trains: Callable[..., Trained], recipe: Recipe, *arguments: Any, **named: Any) -> None:
    """Train, and say how long it took and what validation said."""
    began = time.monotonic()
    bundle = trains(recipe, *arguments, **named).bundle
    shown = {
        part: {name: round(value, 4) for name, value in figures.items() if name in ("hr@20", "mrr@20", "ndcg@20")}
        for part, figures in bundle.manifest.metrics.items()
    }
    say(f"  {name} of {recipe.protocol}: {time.monotonic() - began:.0f} s, {json.dumps(shown)}")


def _variant(recipe: Recipe, variant: Variant) -> Recipe:
    if variant == "encoder":
        return replace(recipe, counters=())
    return replace(recipe, model=None) if variant == "counters" else recipe


def _rank(bundle: Bundle, recipe: Recipe, row: Row) -> CaseRanks:
    """Rank the test cases by the lists that a worker would show."""
    protocol = parse_protocol(recipe.protocol)
    held_out = read_test(data_home() / row.data, protocol, recipe.preparation)
    terms = Terms(protocol=protocol, exclude=recipe.exclude, ks=row.ks)
    task = make_task(held_out, _training(recipe, row, refit=row.refit), bundle, terms)
    return case_ranks(task.held_out, task.cases, rank_bundle(bundle, task, terms).ranks)
