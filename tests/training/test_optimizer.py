import math
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from serving.errors import WrongUse
from training import optimizer as module
from training.batches import Sessions
from training.losses import Loss, LossConfig
from training.models import GRUConfig, SessionEncoder, build_encoder
from training.optimizer import OptimizerConfig, clip, learning_rate, make_optimizer
from training.row_optimizer import RowOptimizer

ITEMS = 30
HINTS = get_type_hints(OptimizerConfig)


def _encoder(*, tied: bool = True, temperature: float | None = 0.07) -> SessionEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_encoder(GRUConfig(dim=4, hidden=5, dropout=0, tied=tied, temperature=temperature), ITEMS)


def _backward(encoder: SessionEncoder, items: Tensor, targets: Tensor) -> None:
    """Leave the gradients of a sampled loss on sessions of full length, `[B, L]`."""
    loss = Loss(LossConfig(negatives=6), torch.ones(ITEMS + 1), torch.ones(ITEMS + 1))
    lengths, nothing = torch.full((len(items),), items.shape[1]), torch.zeros_like(items)
    vectors = encoder(Sessions(items, lengths, types=nothing, silences=nothing))
    value = loss(encoder, vectors.flatten(0, 1), targets.flatten(), torch.Generator().manual_seed(0))
    value.backward()  # type: ignore[no-untyped-call]


SESSIONS = torch.tensor([[3, 4, 0], [3, 9, 4]]), torch.tensor([[4, 5, 6], [9, 4, 3]])


def test_one_cycle_is_torchs_own() -> None:
    config = OptimizerConfig(learning_rate=0.01, warm_up=0.3)
    steps = 101
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=steps, pct_start=(0.3 * (steps - 1) + 1) / steps, cycle_momentum=False
    )
    for step in range(steps):
        assert learning_rate(config, step / (steps - 1)) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            schedule.step()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.01, 0.01, 0.01, 0.01, 0.01]),
        ("warm-up", [0.0, 0.005, 0.01, 0.01, 0.01]),
        # Half of the way down, and a quarter of the way: cosines of 90 and 45 degrees.
        ("warm-up-cosine", [0.0, 0.005, 0.01 * (1 + math.cos(math.pi / 4)) / 2, 0.005, 0.0]),
    ],
)
def test_a_schedule_rises_and_stays_or_falls(schedule: str, expected: list[float]) -> None:
    config = OptimizerConfig(learning_rate=0.01, schedule=schedule, warm_up=0.2)  # type: ignore[arg-type]
    assert [learning_rate(config, progress) for progress in (0.0, 0.1, 0.4, 0.6, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", get_args(HINTS["schedule"]))
def test_a_schedule_without_warm_up_begins_at_its_highest(schedule: str) -> None:
    config = OptimizerConfig(learning_rate=0.01, schedule=schedule, warm_up=0)  # type: ignore[arg-type]
    assert learning_rate(config, 0.0) == 0.01


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("adagrad", torch.optim.Adagrad),
    ],
)
def test_the_kind_names_the_optimizer(kind: str, expected: type[torch.optim.Optimizer]) -> None:
    config = OptimizerConfig(kind=kind, weight_decay=0.1, schedule="constant", learning_rate=0.2)  # type: ignore[arg-type]
    encoder = _encoder()
    optimizer = make_optimizer(config, encoder, looks_up=True)
    _backward(encoder, *SESSIONS)
    optimizer.step(0.5)
    assert list(optimizer.parts) == ["dense"]
    assert type(optimizer.parts["dense"]) is expected
    (group,) = optimizer.parts["dense"].param_groups
    assert (group["weight_decay"], group["lr"]) == (0.1, 0.2)


def test_tables_are_sparse_where_the_catalogue_is_large_and_the_loss_looks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(tables: str, looks_up: bool) -> list[str]:
        config = OptimizerConfig(tables=tables)  # type: ignore[arg-type]
        return list(make_optimizer(config, _encoder(), looks_up=looks_up).parts)

    assert parts("auto", True) == parts("dense", True) == ["dense"]
    assert parts("sparse", True) == ["dense", "rows"]
    monkeypatch.setattr(module, "SPARSE_FROM", ITEMS)
    assert parts("auto", True) == ["dense", "rows"]
    assert parts("auto", False) == parts("dense", True) == ["dense"]


def test_sparse_tables_under_a_full_softmax_are_refused() -> None:
    with pytest.raises(WrongUse, match="a full softmax has a gradient for every item: take a loss with negatives"):
        make_optimizer(OptimizerConfig(tables="sparse"), _encoder(), looks_up=False)


@pytest.mark.parametrize("temperature", [0.07, None])
@pytest.mark.parametrize("tied", [True, False])
def test_sparse_gradients_are_the_dense_ones_of_the_rows_looked_up(tied: bool, temperature: float | None) -> None:
    dense, sparse = (_encoder(tied=tied, temperature=temperature) for _ in range(2))
    tables = sparse.items.make_sparse()
    assert len(tables) == (1 if tied else 2)
    for encoder in (dense, sparse):
        _backward(encoder, *SESSIONS)
    for table, other in zip(tables, dense.items.parameters(), strict=True):
        assert table.grad is not None
        assert other.grad is not None
        assert table.grad.is_sparse
        torch.testing.assert_close(table.grad.to_dense(), other.grad)
        rows = table.grad.coalesce().indices()[0].tolist()
        assert 0 not in rows
        assert len(rows) < ITEMS


@pytest.mark.parametrize("length", [1e-3, 1e3])
def test_sparse_gradients_are_cut_as_dense_ones_are(length: float) -> None:
    dense, sparse = _encoder(), _encoder()
    sparse.items.make_sparse()
    for encoder in (dense, sparse):
        _backward(encoder, *SESSIONS)
    norm = torch.nn.utils.clip_grad_norm_(dense.parameters(), length)
    assert 1e-3 < norm < 1e3
    clip(sparse.parameters(), length)
    for one, other in zip(sparse.parameters(), dense.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad.to_dense(), other.grad)
    clip([nn.Parameter(torch.zeros(1))], 1.0)  # a weight without a gradient


def test_a_step_changes_only_the_rows_of_the_batch() -> None:
    encoder = _encoder()
    optimizer = make_optimizer(OptimizerConfig(tables="sparse", weight_decay=0.1), encoder, looks_up=True)
    before = encoder.items.output.weight.detach().clone()
    _backward(encoder, *SESSIONS)
    optimizer.step(0.5)
    gradient = encoder.items.output.weight.grad
    assert gradient is not None
    looked_up = gradient.coalesce().indices()[0].tolist()
    changed = (encoder.items.output.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == looked_up
    optimizer.zero_grad()
    assert all(weight.grad is None for weight in encoder.parameters())


def test_a_dense_gradient_of_a_sparse_table_is_refused() -> None:
    table = nn.Parameter(torch.ones(3, 2))
    table.grad = torch.ones(3, 2)
    with pytest.raises(WrongUse, match=r"cannot be updated alone: set optimizer\.tables=dense"):
        RowOptimizer([table], "adam", momentum=0.0, weight_decay=0.0).step()


def test_values_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(WrongUse, match="learning_rate must be above 0, not 0"):
        OptimizerConfig(learning_rate=0)
    with pytest.raises(WrongUse, match=r"warm_up is a share from 0 to below 1, not 1\.5"):
        OptimizerConfig(warm_up=1.5)
