"""One of several processes that train together, and then see one of them fail: `torchrun together.py OUT`."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.account import LoopConfig, Report
from training.batches import cut_windows
from training.checkpoint import load_checkpoint
from training.data.sequences import Events
from training.loop import Trainer
from training.losses import Loss, LossConfig
from training.models import AnyConfig, GRUConfig, SASRecConfig, build_encoder
from training.optimizer import OptimizerConfig
from training.parallel import ALONE, Group, started_by_torchrun

ITEMS = 20
CASES: dict[str, tuple[AnyConfig, LossConfig, OptimizerConfig]] = {
    "softmax": (SASRecConfig(dim=8, dropout=0, window=10), LossConfig(kind="softmax"), OptimizerConfig()),
    "in-batch": (
        GRUConfig(dim=8, hidden=8, dropout=0),
        LossConfig(source="mixed", negatives=12),
        OptimizerConfig(tables="sparse"),
    ),
}


def trainer(case: str, group: Group = ALONE, dropout: float = 0.0) -> Trainer:
    """Return the training of a case; its batches hold odd numbers of windows, and some a single one."""
    model, loss, optimizer = CASES[case]
    random = np.random.default_rng(0)
    starts = random.integers(0, ITEMS, 60)
    rows = [(start + np.arange(2 + start % 7)) % ITEMS + 1 for start in starts]
    sessions = [Events(one, np.ones_like(one), 60_000 * np.arange(len(one))) for one in rows]
    counts = torch.from_numpy(np.bincount(np.concatenate([s.rows for s in sessions]), minlength=ITEMS + 1)).float()
    torch.manual_seed(0)
    return Trainer(
        encoder=build_encoder(replace(model, dropout=dropout), ITEMS),
        windows=cut_windows(sessions, 10),
        loss=Loss(loss, counts, counts),
        validate=lambda: {"mrr@20": 0.5},
        config=LoopConfig(epochs=2, batch_targets=10, monitor="mrr@20", threads=1, device="cpu"),
        optimizer=optimizer,
        seed=0,
        group=group,
    )


class _Stopped(Exception):
    pass


def main(out: Path) -> None:
    """Train each case in full, and one in two parts; then fail in one of the processes."""
    with started_by_torchrun() as group:
        for name in CASES:
            made = trainer(name, group)
            made.run()
            torch.save(made.encoder.state_dict(), out / f"{name}-{group.rank}.pt")
        whole, halves = trainer("softmax", group, dropout=0.3), trainer("softmax", group, dropout=0.3)
        whole.run()
        stopping = replace(halves, checkpoints=out / "checkpoint", checkpoint_minutes=0, report=_stop)
        try:
            stopping.run()
        except _Stopped:
            group.wait()
        resumed = trainer("softmax", group, dropout=0.3)
        resumed.resume(load_checkpoint(out / "checkpoint", {}))
        resumed.run()
        torch.save((whole.encoder.state_dict(), resumed.encoder.state_dict()), out / f"resumed-{group.rank}.pt")
        _fail(group)


def _stop(report: Report) -> None:
    if report.done > 0.4:
        raise _Stopped


def _fail(group: Group) -> None:
    def report(report: Report) -> None:
        if group.rank == 1 and report.done > 0.3:
            raise RuntimeError("one of us is lost")

    replace(trainer("softmax", group), report=report).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
