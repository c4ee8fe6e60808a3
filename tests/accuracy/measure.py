"""Trains the variants of a row, and what they are compared with, and ranks the row's test cases with each."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.bundle import Bundle, load_bundle
from tests.accuracy.outside import rank_outside
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


def measure(row: Row, seed: int, home: Path) -> Trainings:
    """Train every model of a row with one seed, and leave the ranks of its cases in `home`, as NAME.parquet."""
    recipe = override(find_recipe(row.recipe), row.overrides)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    recipes = {str(variant): _variant(recipe, variant) for variant in row.variants}
    ranks: dict[str, list[CaseRanks]] = {}
    trainings: Trainings = {}
    chosen: dict[str, Path] = {}
    for number, cycle in enumerate(parse_protocol(recipe.protocol).cycles()):
        folder = home / f"cycle-{number}"
        if isinstance(row.rival, Tuned) and number == 0:
            own = replace(recipe, protocol=str(cycle))
            recipes[row.rival.name] = _tuned(row.rival, own, _training(own, row), seed, home / "search")
        own_recipes = {name: replace(one, protocol=str(cycle)) for name, one in recipes.items()}
        if not row.refit or not chosen:
            chosen = _train(own_recipes, row, seed, folder)
        bundles = _refit(own_recipes, row, seed, chosen, folder) if row.refit else chosen
        for name, out in bundles.items():
            bundle = load_bundle(out)
            ranks.setdefault(name, []).append(_rank(bundle, own_recipes[name], row))
            needs = {"needs": list(bundle.manifest.needs)} if bundle.manifest.needs else {}
            trainings.setdefault(name, []).append({"bundle": bundle.id, **needs, **bundle.manifest.metrics})
    for name, parts in ranks.items():
        pool(parts).write(home / f"{name}.parquet")
    if isinstance(row.rival, Outside):
        cases = pool(ranks[row.variants[-1]])
        found, told = rank_outside(row.rival, data_home() / row.data, cases, seed)
        found.write(home / f"{row.rival.name}.parquet")
        trainings[row.rival.name] = [told]
    return trainings


def _tuned(rival: Tuned, recipe: Recipe, training: Training, seed: int, out: Path) -> Recipe:
    """Return the rival's recipe under the row's terms with the values that are best on its validation part."""
    own = replace(
        find_recipe(rival.recipe),
        protocol=recipe.protocol,
        preparation=recipe.preparation,
        exclude=recipe.exclude,
        window=recipe.window,
    )
    began = time.monotonic()
    space = build_space(own, SPACES[rival.recipe], [], [])
    found = search(Plan(recipe=own, space=space, trials=rival.trials, seed=seed), training, out)
    assert found.best is not None  # a search without a figure raises
    say(f"  {rival.name}: {rival.trials} trials, {time.monotonic() - began:.0f} s, {' '.join(found.best.set)}")
    return override(own, found.best.set)


def _train(recipes: Mapping[str, Recipe], row: Row, seed: int, folder: Path) -> dict[str, Path]:
    """Train each and write its bundle: those with an encoder are variants of one recipe, and share its checkpoint."""
    trained = folder / "trained"
    for name, own in recipes.items():
        out, again = folder / name, own.model is not None and trained.exists()
        if again:
            shutil.copytree(trained, checkpoints_of(out))
        _tell(name, train_bundle, own, _training(own, row), seed=seed, out=out, resume=again)
        if own.model is not None and not again:
            shutil.copytree(checkpoints_of(out), trained)
    return {name: folder / name for name in recipes}


def _refit(
    recipes: Mapping[str, Recipe], row: Row, seed: int, chosen: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Train each on all that is earlier than the test, with what was chosen (once, before the first test)."""
    found = {}
    for name, bundle in chosen.items():
        out, own = folder / f"{name}-refitted", recipes[name]
        # A later cycle has another name than the one that was chosen on, and is the same recipe in all else.
        choice = read_chosen(bundle, replace(own, protocol=load_bundle(bundle).manifest.recipe["protocol"]))
        _tell(name, train_bundle, own, _training(own, row, refit=True), seed=seed, out=out, refit=choice)
        found[name] = out
    return found


def _training(recipe: Recipe, row: Row, *, refit: bool = False) -> Training:
    return read_training(data_home() / row.data, parse_protocol(recipe.protocol), recipe.preparation, refit=refit)


def _tell(name: str, train: Callable[..., Trained], recipe: Recipe, *arguments: Any, **named: Any) -> None:
    """Train, and say how long it took and what validation said."""
    began = time.monotonic()
    bundle = train(recipe, *arguments, **named).bundle
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
