"""A process that is killed within an epoch, without a moment to tidy up, and one that goes on from what it left."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import killed
from training.checkpoint import checkpoints_of
from training.data.generator import generate
from training.data.writers import write_log


@pytest.mark.slow
def test_a_killed_process_and_an_uninterrupted_one_end_in_the_same_bundle(tmp_path: Path) -> None:
    data, out = tmp_path / "shop.jsonl", tmp_path / "bundle"
    write_log(generate(150, 100, 0), data)
    command = [sys.executable, "-m", "tests.training.killed", str(data), str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # Steps of an epoch are reported before their checkpoint: the third has two behind it.
        for answer in ("\n", "\n", ""):
            assert process.stdout.readline() == "1\n"
            process.stdin.write(answer)
            process.stdin.flush()
        process.kill()
        assert process.wait() == -9
    found = (checkpoints_of(out) / "checkpoint.json").read_text()
    assert '"batches": ' in found
    assert not out.exists()
    assert killed.train(data, out, resume=True) == killed.train(data, tmp_path / "whole")
