import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import load_bundle
from serving.errors import WrongUse
from training.account import LoopConfig, Report
from training.checkpoint import checkpoints_of
from training.counters import ItemKnnConfig, SequentialRulesConfig
from training.data.cuts import whole
from training.data.dataset import read_description
from training.data.generator import generate
from training.data.protocol import parse_protocol
from training.data.splits import Training
from training.errors import CheckpointError, DataError
from training.evaluation.cases import build_cases
from training.evaluation.served import evaluate_served
from training.models import LSTMConfig
from training.recipes import Recipe
from training.train import Trained, curve_of, train_bundle


def test_a_bundle_is_whole_and_says_how_it_was_made(
    trained: Trained, small_recipe: Recipe, small_training: Training
) -> None:
    bundle = load_bundle(trained.bundle.directory)
    manifest = bundle.manifest
    assert bundle.id == trained.bundle.id
    assert manifest.recipe == json.loads(json.dumps(small_recipe.parameters()))
    assert manifest.recipe["model"]["kind"] == manifest.session_encoder.kind == "gru"
    assert (manifest.session_encoder.window, manifest.seed) == (10, 0)
    assert manifest.data["fingerprint"] == small_training.clicks.fingerprint
    assert manifest.data["validation_fingerprint"] == small_training.validation_fingerprint
    assert read_description(manifest.data) == (parse_protocol("next-item"), small_recipe.preparation)
    assert bundle.popularity.sum() == len(small_training.clicks)
    assert bundle.catalogue.title(bundle.catalogue.item_ids[1]) != bundle.catalogue.item_ids[1]


def test_the_first_golden_session_is_longer_than_the_window(trained: Trained) -> None:
    golden = json.loads((trained.bundle.directory / "golden.json").read_text())
    assert len(golden) == 8
    assert len(golden[0]["items"]) > 10


def test_validation_figures_are_those_of_the_lists_that_the_bundle_serves(
    trained: Trained, small_training: Training
) -> None:
    # Dense scores in torch there; encoder runtime, index and lists here.
    cases = build_cases(small_training.validation, trained.bundle.catalogue)
    served = evaluate_served(trained.bundle, cases, exclude="current", k=20)
    figures = trained.bundle.manifest.metrics["validation"]
    assert figures["cases"] == len(served.ranks)
    assert figures["hr@20"] == pytest.approx(np.mean(served.ranks > 0))
    within = np.where(served.ranks > 0, 1 / np.maximum(served.ranks, 1), 0.0)
    assert figures["mrr@20"] == pytest.approx(within.mean())


def test_unknown_items_of_the_validation_part_are_misses(trained: Trained, small_training: Training) -> None:
    assert trained.bundle.manifest.metrics["validation"]["cases"] == len(
        build_cases(small_training.validation, trained.bundle.catalogue)
    )


def test_curve_and_checkpoint_lie_beside_the_bundle(trained: Trained) -> None:
    directory = trained.bundle.directory
    assert curve_of(directory).read_bytes().startswith(b"\x89PNG")
    assert (checkpoints_of(directory) / "checkpoint.json").exists()
    assert {path.name for path in directory.parent.iterdir()} == {
        "bundle",
        "bundle.checkpoint",
        "bundle.curve.png",
    }


def test_the_same_seed_gives_the_same_bundle(
    trained: Trained, small_recipe: Recipe, small_training: Training, tmp_path: Path
) -> None:
    again = train_bundle(small_recipe, small_training, seed=0, out=tmp_path / "again")
    assert again.bundle.id == trained.bundle.id


def test_an_interrupted_training_that_is_resumed_gives_the_same_bundle(
    trained: Trained, small_recipe: Recipe, small_training: Training, tmp_path: Path
) -> None:
    def interrupt(report: Report) -> None:
        if report.number == 3:
            raise KeyboardInterrupt

    out = tmp_path / "bundle"
    with pytest.raises(KeyboardInterrupt):
        train_bundle(small_recipe, small_training, seed=0, out=out, report=interrupt)
    assert not out.exists()
    with pytest.raises(WrongUse, match="holds the checkpoint of an earlier training: go on from it with --resume"):
        train_bundle(small_recipe, small_training, seed=0, out=out)
    with pytest.raises(CheckpointError, match="its seed is 0, this one's 1"):
        train_bundle(small_recipe, small_training, seed=1, out=out, resume=True)
    resumed = train_bundle(small_recipe, small_training, seed=0, out=out, resume=True)
    assert resumed.bundle.id == trained.bundle.id


@pytest.fixture
def checkpointed(trained: Trained, tmp_path: Path) -> Path:
    """A place for a bundle, beside a copy of the small training's checkpoint."""
    out = tmp_path / "bundle"
    shutil.copytree(checkpoints_of(trained.bundle.directory), checkpoints_of(out))
    return out


def test_a_training_that_stands_may_end_in_another_index(
    trained: Trained, small_recipe: Recipe, small_training: Training, checkpointed: Path
) -> None:
    recipe = dataclasses.replace(small_recipe, index="HNSW8")
    bundle = train_bundle(recipe, small_training, seed=0, out=checkpointed, resume=True).bundle
    assert bundle.manifest.index is not None
    assert bundle.manifest.index.factory == bundle.manifest.recipe["index"] == "HNSW8"
    assert np.array_equal(bundle.vectors, trained.bundle.vectors)


def test_another_validation_part_would_choose_another_epoch_and_is_refused(
    small_recipe: Recipe, small_training: Training, checkpointed: Path
) -> None:
    validation = small_training.validation
    fewer = dataclasses.replace(validation, targets=validation.targets & (np.arange(len(validation.targets)) > 0))
    for other in (fewer, whole(generate(50, 100, 7))):
        with pytest.raises(CheckpointError, match=r"its validation is '[0-9a-f]{64}', this one's '[0-9a-f]{64}'; use"):
            train_bundle(
                small_recipe,
                dataclasses.replace(small_training, validation=other),
                seed=0,
                out=checkpointed,
                resume=True,
            )


def test_a_checkpoint_that_does_not_tell_its_validation_part_is_refused_in_a_sentence(
    small_recipe: Recipe, small_training: Training, checkpointed: Path
) -> None:
    path = checkpoints_of(checkpointed) / "checkpoint.json"
    document = json.loads(path.read_text())
    del document["run"]["validation"]
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"earlier version, which did not keep .*: go on with that version, or"):
        train_bundle(small_recipe, small_training, seed=0, out=checkpointed, resume=True)


def test_what_lists_leave_out_decides_the_best_epoch_and_cannot_change_on_the_way(
    small_recipe: Recipe, small_training: Training, checkpointed: Path
) -> None:
    recipe = dataclasses.replace(small_recipe, exclude="none")
    with pytest.raises(CheckpointError, match=r"its recipe\.exclude is 'current', this one's 'none'"):
        train_bundle(recipe, small_training, seed=0, out=checkpointed, resume=True)


def test_another_number_of_threads_would_end_in_other_weights_and_is_refused(
    small_recipe: Recipe, small_training: Training, checkpointed: Path
) -> None:
    recipe = dataclasses.replace(small_recipe, loop=dataclasses.replace(small_recipe.loop, threads=3))
    with pytest.raises(CheckpointError, match=r"its recipe\.loop\.threads is 1, this one's 3"):
        train_bundle(recipe, small_training, seed=0, out=checkpointed, resume=True)


@pytest.mark.parametrize("factory", ["Flatt", "IVF5000,Flat"])
def test_an_index_that_cannot_be_built_is_refused_before_training(
    small_recipe: Recipe, small_training: Training, tmp_path: Path, factory: str
) -> None:
    recipe = dataclasses.replace(small_recipe, index=factory)
    reports: list[Report] = []
    with pytest.raises(WrongUse, match=f"cannot build index '{factory}' over {small_training.clicks.items} items"):
        train_bundle(recipe, small_training, seed=0, out=tmp_path / "bundle", report=reports.append)
    assert (reports, list(tmp_path.iterdir())) == ([], [])


def test_a_half_life_over_clicks_without_times_is_refused_before_training(
    small_recipe: Recipe, small_training: Training, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(small_recipe, counters=(ItemKnnConfig(), SequentialRulesConfig(half_life_days=3)))
    untimed = dataclasses.replace(small_training, clicks=dataclasses.replace(small_training.clicks, timed=False))
    reports: list[Report] = []
    with pytest.raises(DataError, match=r"no times, which counters\.1\.half_life_days=3 needs: set it to none"):
        train_bundle(recipe, untimed, seed=0, out=tmp_path / "bundle", report=reports.append)
    assert (reports, list(tmp_path.iterdir())) == ([], [])


def test_an_lstm_with_separate_tables_is_a_bundle_too(
    small_recipe: Recipe, small_training: Training, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(
        small_recipe, model=LSTMConfig(dim=12, hidden=8, layers=2, tied=False), loop=LoopConfig(epochs=1, threads=1)
    )
    bundle = train_bundle(recipe, small_training, seed=0, out=tmp_path / "lstm").bundle
    assert (bundle.manifest.session_encoder.kind, bundle.manifest.session_encoder.state_size) == ("lstm", 2 * 2 * 8)


def test_a_bundle_is_never_overwritten(trained: Trained, small_recipe: Recipe, small_training: Training) -> None:
    with pytest.raises(WrongUse, match="exists already"):
        train_bundle(small_recipe, small_training, seed=0, out=trained.bundle.directory)


def test_data_without_a_session_of_two_clicks_are_refused(
    small_recipe: Recipe, small_training: Training, tmp_path: Path
) -> None:
    log = generate(50, 100, 0)
    firsts = log.with_frame(log.frame.unique("session_id", keep="first", maintain_order=True))
    with pytest.raises(DataError, match="no session of two clicks to learn from"):
        train_bundle(small_recipe, Training(firsts, small_training.validation), seed=0, out=tmp_path / "bundle")
