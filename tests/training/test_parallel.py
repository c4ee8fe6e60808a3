"""Several processes, started by torchrun, against one that does it alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import together
from tests.training.conftest import as_events
from training.batches import cut_windows, make_batch
from training.parallel import Group


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left what they learned."""
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def done(out: Path) -> subprocess.CompletedProcess[str]:
    """Two processes that have trained every case together, after which one failed."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "tests.training.together", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_target_of_a_batch_is_one_processs(size: int) -> None:
    batch = make_batch(cut_windows(as_events([[1, 2, 3], [4, 5], [6, 7, 8, 9], [1, 3], [2, 5, 6]]), 10), np.arange(5))
    shares = [Group(rank, size).share(batch) for rank in range(size)]
    taken = [here.targets[here.mask].tolist() for here, count in shares if count]
    assert sorted(target for targets in taken for target in targets) == sorted(batch.targets[batch.mask].tolist())
    assert [count for _, count in shares if count] == [len(targets) for targets in taken]
    # Nobody is left without a window to draw negatives for.
    assert all(here.mask.any() for here, _ in shares)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(done: subprocess.CompletedProcess[str], out: Path) -> None:
    assert len(list(out.glob("*.pt"))) == 2 * len(together.CASES) + 2, done.stderr
    for case in together.CASES:
        alone = together.trainer(case)
        alone.run()
        first, second = (torch.load(out / f"{case}-{rank}.pt", weights_only=True) for rank in range(2))
        for name, tensor in alone.encoder.state_dict().items():
            assert torch.equal(first[name], second[name])
            # Each step's gradient differs by rounding, which Adam may widen where a gradient is nearly 0.
            assert torch.allclose(tensor, first[name], atol=2e-4), (case, name)
    for rank in range(2):
        whole, resumed = torch.load(out / f"resumed-{rank}.pt", weights_only=True)
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_an_error_in_one_process_ends_all(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode != 0
    assert "one of us is lost" in done.stderr
