import json
from pathlib import Path

import pytest

from deploy.cli import build_app, run
from training.commands.train import RECIPE_NAMES
from training.data.generator import generate
from training.data.writers import write_log
from training.recipes import RECIPES

SMALL = ["--set", "model.dim=8", "--set", "model.hidden=8", "--set", "loop.epochs=2"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    write_log(generate(200, 100, 0), path)
    return path


def test_training_ends_with_the_figures_and_the_bundle(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert run(build_app(), ["train", "quick", "--data", str(shop), "--out", str(out), "--seed", "3", *SMALL]) == 0
    output, progress = capsys.readouterr()
    assert "recall@20 0." in output
    assert "(epoch 2 of 2)" in output
    assert f"in {out}" in output
    assert "epoch 1: loss" in progress
    assert (out / "manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quik"], "there is no recipe 'quik'"),
        (["quick", "--set", "model.wide=3"], "has no parameter 'model.wide'"),
        (["quick", "--max-seconds", "0"], "max_seconds must be above 0, not 0"),
    ],
)
def test_a_wrong_use_is_a_sentence_and_exit_code_2(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(build_app(), ["train", *arguments, "--data", str(shop), "--out", str(tmp_path / "bundle")]) == 2
    assert message in capsys.readouterr().err


def test_help_lists_the_recipes_that_there_are() -> None:
    assert set(RECIPE_NAMES) == set(RECIPES)


def test_unit_and_unreadable_rows_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{session},i{item},{60_000 * session + item}\n" for session in range(40) for item in range(3)]
    data = tmp_path / "clicks.csv"
    data.write_text("session_id,item_id,time\n" + "".join(rows) + "oops\n" * 3)
    command = ["train", "quick", "--data", str(data), "--out", str(tmp_path / "bundle"), *SMALL]
    assert run(build_app(), command) == 1
    assert "3 of 123 rows are no clicks" in capsys.readouterr().err
    assert run(build_app(), [*command, "--max-bad-share", "0.05", "--time-unit", "ms"]) == 0
    data_of = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["data"]
    assert data_of["first_timestamp_ms"] == 0
    assert data_of["last_timestamp_ms"] < 60_000 * 40


def test_a_bundle_that_exists_is_refused_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(build_app(), ["train", "quick", "--data", "nowhere", "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("parent", ["/proc/nope", "{file}", "{file}/deeper"])
def test_a_place_where_no_bundle_can_be_made_is_refused_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parent: str
) -> None:
    (tmp_path / "file").write_text("")
    out = Path(parent.format(file=tmp_path / "file")) / "bundle"
    assert run(build_app(), ["train", "quick", "--data", "nowhere", "--out", str(out)]) == 2
    assert f"{out} cannot be made in " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_resuming_without_a_checkpoint_is_a_failure(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(build_app(), ["train", "quick", "--data", str(shop), "--out", str(tmp_path / "bundle"), "--resume"]) == 1
    assert "there is no checkpoint in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "--out", "s.csv"],
        ["evaluate", "b", "--data", "s.csv"],
        ["compare", "a", "b", "--data", "s.csv"],
        ["demo"],
    ],
)
def test_seeds_of_random_numbers_begin_at_zero(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(build_app(), [*command, "--seed", "-1"]) == 2
    assert "Invalid value for '--seed': Input should be greater than or equal to 0" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--resume"], ["--max-seconds", "60"]])
def test_counters_alone_have_no_training_to_go_on_with_or_to_shorten(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    command = ["train", "vmis_knn", "--data", str(shop), "--out", str(tmp_path / "bundle"), *option]
    assert run(build_app(), command) == 2
    assert f"recipe vmis_knn has no encoder, and counters are fitted anew in seconds: leave {option[0]} out" in (
        capsys.readouterr().err
    )
