"""Warm starts: items keep their rows and vectors across bundles."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.catalogue import Catalogue
from serving.errors import WrongUse
from training.account import LoopConfig, Report
from training.checkpoint import checkpoints_of
from training.data.sequences import build_catalogue
from training.data.splits import Training
from training.errors import CheckpointError
from training.models import GRUConfig, build_encoder
from training.prepared import prepare_training
from training.recipes import Recipe
from training.train import Trained, train_bundle
from training.warm_start import Start, initialise, read_start

ids = st.lists(st.integers(0, 40).map(str), unique=True, max_size=30)


def _clicked(items: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({"item_id": items}, schema={"item_id": pl.String})


@given(before=ids, shown=ids)
def test_items_keep_their_rows_and_rows_stay_dense(before: list[str], shown: list[str]) -> None:
    old = Catalogue(before)
    catalogue = build_catalogue(_clicked(shown), old)
    size = len(shown)
    assert sorted(catalogue.item_ids[1:]) == sorted(shown)
    moved = [item for item in shown if old.row(item) and catalogue.row(item) != old.row(item)]
    # Only what stands behind the last row of a smaller catalogue moves.
    assert moved == [item for item in shown if old.row(item) > size]
    new = [item for item in shown if not old.row(item)]
    assert [catalogue.row(item) for item in new] == sorted(catalogue.row(item) for item in new)
    if new and moved:
        assert max(catalogue.row(item) for item in new) < min(catalogue.row(item) for item in moved)


def test_retired_items_leave_their_rows_to_new_ones_and_to_the_last() -> None:
    old = Catalogue(["a", "b", "c", "d", "e"])
    assert build_catalogue(_clicked(["x", "d", "a", "y", "z"]), old).item_ids[1:] == ["a", "x", "y", "d", "z"]
    assert build_catalogue(_clicked(["e", "d", "x"]), old).item_ids[1:] == ["x", "d", "e"]
    assert build_catalogue(_clicked(["e", "f", *"abcd"]), old).item_ids[1:] == [*"abcdef"]


@pytest.mark.parametrize("tied", [True, False])
def test_kept_items_and_types_have_the_same_vectors_bit_for_bit(tied: bool) -> None:
    config = GRUConfig(dim=6, hidden=5, tied=tied, event_types=True)
    torch.manual_seed(0)
    old, new = build_encoder(config, 4, 2), build_encoder(config, 3, 3)
    with torch.no_grad():
        old.get_parameter("types.weight").normal_()
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    start = Start(
        bundle="b",
        clicks=[],
        catalogue=Catalogue([*"abcd"]),
        event_types=["click", "buy"],
        weights=dict(old.state_dict()),
    )
    initialise(new, start, Catalogue(["x", "b", "d"]), ["buy", "view", "click"])
    for name, tensor in new.state_dict().items():
        if name.startswith("items."):
            assert torch.equal(tensor[[0, 2, 3]], old.state_dict()[name][[0, 2, 4]])
            assert torch.equal(tensor[1], fresh[name][1])
        elif name == "types.weight":
            assert torch.equal(tensor[[0, 1, 3]], old.state_dict()[name][[0, 2, 1]])
            assert torch.equal(tensor[2], fresh[name][2])
        else:
            assert torch.equal(tensor, old.state_dict()[name])


@pytest.fixture(scope="module")
def newer(small_training: Training) -> Training:
    """The small training's clicks without some items, and with others in their place for a few sessions."""
    frame = small_training.clicks.frame
    first = frame.get_column("item_id").unique(maintain_order=True)
    item, gone = pl.col("item_id"), first[:7].to_list()
    frame = frame.with_columns(
        pl.when(item.is_in(gone[:3])).then(item + "-new").when(item.is_in(gone)).then(pl.lit(first[9])).otherwise(item)
    )
    return replace(small_training, clicks=small_training.clicks.with_frame(frame))


def test_a_training_goes_on_from_a_bundle(
    trained: Trained, small_recipe: Recipe, newer: Training, tmp_path: Path
) -> None:
    recipe = replace(small_recipe, loop=LoopConfig(epochs=1, batch_targets=128, threads=1))
    start = read_start(trained.bundle.directory, small_recipe)
    first: list[Report] = []
    warm = train_bundle(recipe, newer, seed=5, out=tmp_path / "warm", start=start, report=first.append)
    cold: list[Report] = []
    train_bundle(recipe, newer, seed=5, out=tmp_path / "cold", report=cold.append)
    assert first[0].loss < 0.9 * cold[0].loss

    bundle, old = warm.bundle, trained.bundle.catalogue
    catalogue = bundle.catalogue
    assert bundle.manifest.metrics["started_from"] == {
        "bundle": trained.bundle.id,
        "kept": len(old) - 7,
        "new": 3,
        "retired": 7,
        "clicks": [trained.bundle.manifest.data["fingerprint"]],
    }
    assert sum(catalogue.row(item) != old.row(item) for item in catalogue.item_ids[1:] if old.row(item)) <= 4
    clicked = newer.clicks.frame.get_column("item_id").value_counts()
    assert {item: bundle.popularity[catalogue.row(item)] for item in catalogue.item_ids[1:]} == dict(
        clicked.iter_rows()
    )

    # It is a bundle like any other: a training may start from it, and from it alone once begun.
    again = read_start(bundle.directory, recipe)
    assert again.catalogue.item_ids == catalogue.item_ids
    assert again.clicks == [newer.clicks.fingerprint, trained.bundle.manifest.data["fingerprint"]]
    shutil.copytree(checkpoints_of(bundle.directory), checkpoints_of(tmp_path / "on"))
    with pytest.raises(CheckpointError, match="its started_from is"):
        train_bundle(recipe, newer, seed=5, out=tmp_path / "on", resume=True)
    resumed = train_bundle(recipe, newer, seed=5, out=tmp_path / "on", resume=True, start=start)
    assert resumed.bundle.id == bundle.id


def test_the_weights_before_the_first_step_are_those_of_the_bundle(
    trained: Trained, small_recipe: Recipe, newer: Training
) -> None:
    assert small_recipe.model is not None
    assert trained.encoder is not None
    start = read_start(trained.bundle.directory, small_recipe)
    data = prepare_training(newer, start.catalogue)
    encoder = build_encoder(small_recipe.model, len(data.catalogue), len(data.event_types))
    initialise(encoder, start, data.catalogue, data.event_types)
    kept = [item for item in data.catalogue.item_ids[1:] if start.catalogue.row(item)]
    table, old = encoder.items.output.weight, trained.encoder.items.output.weight
    assert torch.equal(table[data.catalogue.rows_of(kept)], old[start.catalogue.rows_of(kept)])


def test_another_encoder_is_refused_by_what_differs(trained: Trained, small_recipe: Recipe) -> None:
    other = replace(small_recipe, model=GRUConfig(dim=16, hidden=32, dropout=0.1))
    with pytest.raises(WrongUse, match=r"holds another encoder: its model\.hidden is 16, this one's 32"):
        read_start(trained.bundle.directory, other)


def test_a_bundle_without_its_checkpoint_is_no_start(trained: Trained, small_recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(trained.bundle.directory, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*bundle\.checkpoint: start without --from"):
        read_start(tmp_path / "bundle", small_recipe)


def test_a_bundle_that_does_not_tell_its_validation_part_is_a_start_too(
    trained: Trained, small_recipe: Recipe, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(trained.bundle.directory, bundle)
    shutil.copytree(checkpoints_of(trained.bundle.directory), checkpoints_of(bundle))
    for path, part, key in (
        (bundle / "manifest.json", "data", "validation_fingerprint"),
        (checkpoints_of(bundle) / "checkpoint.json", "run", "validation"),
    ):
        document = json.loads(path.read_text())
        del document[part][key]
        path.write_text(json.dumps(document))
    assert read_start(bundle, small_recipe).clicks == read_start(trained.bundle.directory, small_recipe).clicks
