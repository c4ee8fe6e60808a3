import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cli import build_app, run
from training.data.generator import generate
from training.data.writers import write_log
from training.recipes import find_recipe, override

SMALL = ["--set", "model.hidden=8", "--set", "loop.epochs=2", "--search", "model.dim=8|16"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    write_log(generate(200, 100, 0), path)
    return path


def _tune(data: Path, out: Path, *more: str) -> int:
    return run(build_app(), ["tune", "quick", "--data", str(data), "--out", str(out), *SMALL, *more])


def test_a_search_ends_with_a_table_and_options_to_paste(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _tune(shop, tmp_path / "search", "--trials", "3", "--monitor", "mrr@20") == 0
    output, progress = capsys.readouterr()
    record = json.loads((tmp_path / "search" / "trials.json").read_text())
    assert len(record["trials"]) == 3
    assert "trial mrr@20 epochs seconds" in output
    assert "encoder 3/3: trial 2 " in progress
    words = shlex.split(output.splitlines()[-1])
    assert words[::2] == ["--set"] * (len(words) // 2)
    recipe = override(find_recipe("quick"), words[1::2])
    assert recipe.loop.monitor == "mrr@20"
    assert recipe.model is not None
    assert recipe.model.dim in (8, 16)
    best = max((trial for trial in record["trials"] if trial["state"] == "complete"), key=lambda trial: trial["figure"])
    assert words[1::2] == [*record["set"], *(f"{key}={value}" for key, value in best["values"].items())]

    assert _tune(shop, tmp_path / "search", "--trials", "3") == 2
    assert "has a search already: go on with it by --resume" in capsys.readouterr().err
    assert _tune(shop, tmp_path / "search", "--trials", "4", "--monitor", "mrr@20", "--resume") == 0
    longer = json.loads((tmp_path / "search" / "trials.json").read_text())
    assert longer["trials"][:3] == record["trials"]
    assert len(longer["trials"]) == 4


def test_the_test_part_is_never_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    for part, sessions in (("train", 200), ("valid", 40)):
        write_log(generate(sessions, 100, sessions), tmp_path / "data" / f"{part}.jsonl")
    (tmp_path / "data" / "test.jsonl").write_text("no click at all\n")
    assert _tune(tmp_path / "data", tmp_path / "search", "--trials", "1") == 0
    assert "--set" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--search", "model.wide=1..2"], "recipe quick has no parameter 'model.wide'; it has model=gru|"),
        (["--search", "model.dropout=0.5"], "--search model.dropout=0.5: '0.5' has nothing to choose from"),
        (["--search", "model.hidden=8|16"], "model.hidden is set and searched"),
        (["--search", "loop.monitor=mrr@20|hr@20"], "trials that differ in it cannot be compared"),
        (["--set", "model.wide=3"], "has no parameter 'model.wide'"),
        (["--monitor", "mrr@7"], "monitor 'mrr@7' is no validation figure; there are recall@10"),
        (["--trials", "0"], "trials must be at least 1, not 0"),
        (["--max-seconds", "0"], "max_seconds must be above 0, not 0"),
    ],
)
def test_a_wrong_use_is_a_sentence_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert _tune(tmp_path / "nowhere", tmp_path / "search", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "search").exists()


def test_nothing_to_go_on_with_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tune(tmp_path / "nowhere", tmp_path / "search", "--resume") == 1
    assert "there is no search in" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_keeps_what_there_is_and_says_how_to_go_on(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "search"
    command = ["tune", "quick", "--data", str(shop), "--out", str(out), "--trials", "500", *SMALL]
    with subprocess.Popen(
        [sys.executable, "-m", "deploy", *command],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("encoder 2/500" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "trial ndcg@20" in output
    assert f"interrupted: the same command with --resume goes on with the search in {out}" in said
    before = json.loads((out / "trials.json").read_text())["trials"]
    ended = [trial for trial in before if trial["state"] != "cut"]
    assert len(ended) >= 2
    assert _tune(shop, out, "--trials", str(len(before) + 1), "--resume") == 0
    after = json.loads((out / "trials.json").read_text())["trials"]
    assert after[: len(ended)] == ended
    assert len(after) == len(before) + 1
    assert "--set" in capsys.readouterr().out
