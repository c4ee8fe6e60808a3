"""Refits: trained on everything before the test, with what a bundle's training chose on the validation part."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from serving.bundle import Bundle
from serving.errors import WrongUse
from training.account import LoopConfig, Report
from training.checkpoint import checkpoints_of, load_checkpoint
from training.counters import ItemKnnConfig, PopularityConfig
from training.data.dataset import read_training
from training.data.generator import generate
from training.data.protocol import parse_protocol
from training.data.readers import ReadOptions
from training.data.splits import Training
from training.data.writers import write_log
from training.identity import identity_of
from training.losses import LossConfig
from training.models import GRUConfig
from training.recipes import Recipe
from training.refit import read_chosen, read_refit
from training.train import Trained, curve_of, train_bundle

OPTIONS = ReadOptions("auto", 0.01)
# So high a learning rate that the last epoch is not the best one.
RECIPE = Recipe(
    name="chosen",
    model=GRUConfig(dim=8, hidden=8, dropout=0.1),
    loss=LossConfig(negatives=32),
    loop=LoopConfig(epochs=6, batch_targets=64, patience=2, threads=1),
    counters=(PopularityConfig(), ItemKnnConfig()),
    window=10,
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    write_log(generate(200, 100, 0), path)
    return path


def _part(shop: Path) -> Training:
    return read_training(shop, parse_protocol(RECIPE.protocol), RECIPE.preparation, OPTIONS)


@pytest.fixture(scope="module")
def chosen(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train_bundle(RECIPE, _part(shop), seed=0, out=tmp_path_factory.mktemp("chosen") / "bundle").bundle


@pytest.fixture(scope="module")
def refitted(shop: Path, chosen: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Report]]:
    reports: list[Report] = []
    trained = train_bundle(
        RECIPE,
        read_refit(chosen.directory, RECIPE, shop, OPTIONS),
        seed=0,
        out=tmp_path_factory.mktemp("refit") / "bundle",
        refit=read_chosen(chosen.directory, RECIPE),
        report=reports.append,
    )
    return trained, reports


def test_a_refit_learns_from_both_parts_as_long_as_was_best(
    shop: Path, chosen: Bundle, refitted: tuple[Trained, list[Report]]
) -> None:
    trained, reports = refitted
    part = _part(shop)
    figures = chosen.manifest.metrics["validation"]
    assert trained.progress is not None
    assert len(trained.progress.epochs) == trained.progress.best_epoch == figures["epoch"]
    data = trained.bundle.manifest.data
    assert data["refit"]
    assert data["validation_fingerprint"] is None
    assert data["rows"] == len(part.clicks) + len(part.validation.log) == trained.bundle.popularity.sum()
    shares = [report.done for report in reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_refit_says_what_it_was_chosen_by(chosen: Bundle, refitted: tuple[Trained, list[Report]]) -> None:
    manifest = refitted[0].bundle.manifest
    assert manifest.metrics == {"chosen_by": {"bundle": chosen.id, "seed": 0, **chosen.manifest.metrics}}
    assert manifest.blend == chosen.manifest.blend
    assert curve_of(refitted[0].bundle.directory).exists()


def test_the_schedule_is_that_of_the_planned_epochs(
    shop: Path, chosen: Bundle, refitted: tuple[Trained, list[Report]], tmp_path: Path
) -> None:
    """Without the stop, and with another patience, the same weights are there after the same epoch."""
    best = chosen.manifest.metrics["validation"]["epoch"]

    def kill(report: Report) -> None:
        if report.number > best:
            raise KeyboardInterrupt

    training = read_refit(chosen.directory, RECIPE, shop, OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        train_bundle(
            RECIPE,
            training,
            seed=0,
            out=tmp_path / "longer",
            refit=replace(read_chosen(chosen.directory, RECIPE), epoch=best + 1),
            report=kill,
        )
    run = identity_of(refitted[0].bundle.manifest)
    whole = load_checkpoint(checkpoints_of(refitted[0].bundle.directory), run).tensors
    longer = load_checkpoint(checkpoints_of(tmp_path / "longer"), run).tensors
    assert best < RECIPE.loop.epochs
    assert all(whole[name].equal(longer[name]) for name in whole)


def test_another_recipe_is_refused_by_what_differs(chosen: Bundle) -> None:
    other = replace(RECIPE, model=GRUConfig(dim=16, hidden=8))
    with pytest.raises(WrongUse, match=r"another recipe: its model\.dim is 8, this one's 16; give the same"):
        read_chosen(chosen.directory, other)


def test_other_data_are_refused(chosen: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    write_log(generate(200, 100, 1), path)
    with pytest.raises(WrongUse, match=r"made with other clicks than the training part of .* its rows is"):
        read_refit(chosen.directory, RECIPE, path, OPTIONS)


def test_another_validation_part_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, part in enumerate(("train", "valid", "test")):
        write_log(generate(150, 100, number), data / f"{part}.jsonl")
    recipe = replace(RECIPE, model=None)
    bundle = train_bundle(recipe, _part(data), seed=0, out=tmp_path / "bundle").bundle.directory
    assert read_refit(bundle, recipe, data, OPTIONS).validation_fingerprint is None
    write_log(generate(150, 100, 9), data / "valid.jsonl")
    with pytest.raises(WrongUse, match=r"its validation_fingerprint is '[0-9a-f]{64}', here '[0-9a-f]{64}'; give the"):
        read_refit(bundle, recipe, data, OPTIONS)

    # A bundle of an earlier version does not say what its validation part was.
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["data"]["validation_fingerprint"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert read_refit(bundle, recipe, data, OPTIONS).refit


def test_a_refit_chooses_nothing_for_another(refitted: tuple[Trained, list[Report]]) -> None:
    with pytest.raises(WrongUse, match=r"is a refit, in which nothing was chosen"):
        read_chosen(refitted[0].bundle.directory, RECIPE)


def test_a_schedule_that_a_budget_cut_short_cannot_be_repeated(shop: Path, chosen: Bundle, tmp_path: Path) -> None:
    short = train_bundle(RECIPE, _part(shop), seed=0, out=tmp_path / "short", max_seconds=1e-9).bundle
    with pytest.raises(WrongUse, match="within a time that cut its schedule short"):
        read_chosen(short.directory, RECIPE)
    with pytest.raises(WrongUse, match="no budget can shorten it"):
        train_bundle(
            RECIPE,
            read_refit(chosen.directory, RECIPE, shop, OPTIONS),
            seed=0,
            out=tmp_path / "refit",
            refit=read_chosen(chosen.directory, RECIPE),
            max_seconds=60,
        )
