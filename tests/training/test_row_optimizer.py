"""Each row has an optimiser of its own: torch's, on that row, in the steps that look it up."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from training.row_optimizer import Kind, RowOptimizer

ROWS, WIDTH = 5, 3
TORCHS: dict[Kind, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
}


def _sparse(rows: Sequence[int], values: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([list(rows)], dtype=torch.int64), values, size, check_invariants=True)


def _stepped(optimizer: torch.optim.Optimizer, weight: nn.Parameter, gradient: Tensor, rate: float) -> None:
    optimizer.param_groups[0]["lr"] = rate
    weight.grad = gradient
    optimizer.step()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(list(TORCHS)),
    steps=st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=6), min_size=1, max_size=8),
    decay=st.sampled_from([0.0, 0.1]),
    momentum=st.sampled_from([0.0, 0.9]),
    seed=st.integers(0, 2**20),
)
def test_a_row_follows_torchs_optimizer_in_the_steps_that_look_it_up(
    kind: Kind, steps: list[list[int]], decay: float, momentum: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Row-wise Adagrad is torch's where a row is one number wide.
    width = 1 if kind == "adagrad" else WIDTH
    start = torch.randn(ROWS, width, generator=generator, dtype=torch.float64)
    settings = {"weight_decay": decay} | ({"momentum": momentum} if kind == "sgd" else {})
    table = nn.Parameter(start.clone())
    ours = RowOptimizer([table], kind, momentum=momentum, weight_decay=decay)
    alone = [nn.Parameter(row.clone()) for row in start]
    theirs = [TORCHS[kind]([row], lr=1.0, **settings) for row in alone]
    for number, rows in enumerate(steps):
        # A row that comes twice has two gradients, which add up.
        values = torch.randn(len(rows), width, generator=generator, dtype=torch.float64)
        rate = 0.1 / (number + 1)
        _stepped(ours, table, _sparse(rows, values, (ROWS, width)), rate)
        for row in set(rows):
            _stepped(theirs[row], alone[row], values[torch.tensor(rows) == row].sum(dim=0), rate)
    torch.testing.assert_close(table.detach(), torch.stack([row.detach() for row in alone]), rtol=1e-6, atol=1e-6)
    looked_up = {row for rows in steps for row in rows}
    for row in set(range(ROWS)) - looked_up:
        assert torch.equal(table[row], start[row])


def test_row_wise_adagrad_by_hand() -> None:
    table = nn.Parameter(torch.tensor([[1.0, 1.0], [5.0, 5.0]]))
    optimizer = RowOptimizer([table], "adagrad", momentum=0.0, weight_decay=0.0)
    for _ in range(2):
        _stepped(optimizer, table, _sparse([0], torch.tensor([[3.0, 4.0]]), (2, 2)), 0.1)
    # The mean of the squares is 12.5, then 25: (3, 4) / 3.5355 and (3, 4) / 5.
    expected = [1 - 0.1 * (3 / 12.5**0.5 + 3 / 5), 1 - 0.1 * (4 / 12.5**0.5 + 4 / 5)]
    assert table[0].tolist() == pytest.approx(expected)
    assert table[1].tolist() == [5.0, 5.0]


def test_an_item_that_comes_late_makes_a_first_step_as_long_as_any() -> None:
    table = nn.Parameter(torch.zeros(2, 1))
    optimizer = RowOptimizer([table], "adam", momentum=0.0, weight_decay=0.0)
    for _ in range(500):
        _stepped(optimizer, table, _sparse([0], torch.ones(1, 1), (2, 1)), 0.1)
    _stepped(optimizer, table, _sparse([1], torch.ones(1, 1), (2, 1)), 0.1)
    assert table[1].item() == pytest.approx(-0.1, rel=1e-4)
