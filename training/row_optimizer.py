"""Optimisers of the item tables that read and write the rows of a batch alone.

A batch of a sampled loss looks up a few thousand items. A dense optimiser walks over all the others too, to find that
their gradient is 0: a million items of 64 numbers are 256 MB of weights and 512 MB of Adam's state in every step.

Each row has an optimiser's state of its own, as if the steps that do not look it up did not exist: it neither moves nor
decays in them. Where every step looks up every row, Adam, AdamW and SGD are the dense ones.

Shape suffixes, this file only:
    R rows looked up    D width    V catalogue + 1
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from serving.errors import WrongUse

Kind = Literal["adam", "adamw", "sgd", "adagrad"]
BETAS = 0.9, 0.999
ADAM_EPS = 1e-8
ADAGRAD_EPS = 1e-10


class RowOptimizer(torch.optim.Optimizer):
    """Follows sparse gradients.

    - adam, adamw: both moments, and a count of steps for each row, so that an item which first shows up late gets a
      first step as long as any other's. (torch's SparseAdam corrects by the steps of the whole training, and makes
      it three times as long.)
    - adagrad: one sum of squares for each row, a Dth of the memory (row-wise Adagrad, as DLRM trains its tables,
      https://arxiv.org/abs/2104.05158).
    - sgd: with momentum, a running sum for each row.

    Args:
        tables: weights `[V, D]`, whose gradients are sparse in the first dimension.
        kind: which one.
        momentum: of SGD.
        weight_decay: as `OptimizerConfig` says.

    """

    def __init__(self, tables: Iterable[nn.Parameter], kind: Kind, *, momentum: float, weight_decay: float) -> None:
        # The learning rate is set before each step.
        super().__init__(tables, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})
        self._kind = kind

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the rows that have a gradient.

        Raises:
            WrongUse: a gradient is dense.

        """
        assert closure is None
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                if not table.grad.is_sparse:
                    raise WrongUse(
                        "an item table has a gradient for every row, so its rows cannot be updated alone: "
                        "set optimizer.tables=dense"
                    )
                gradient = table.grad.coalesce()
                self._step(table, gradient.indices()[0], gradient.values(), group)

    def _step(self, table: Tensor, rows_R: Tensor, gradient_RD: Tensor, group: dict[str, Any]) -> None:
        rate, decay = group["lr"], group["weight_decay"]
        weights_RD = _read(table, rows_R)
        if self._kind == "adamw":
            weights_RD *= 1 - rate * decay
        elif decay:
            gradient_RD = gradient_RD + decay * weights_RD
        state = self.state[table]
        match self._kind:
            case "sgd":
                change_RD = _momentum(state, table, rows_R, gradient_RD, group["momentum"])
            case "adagrad":
                change_RD = _adagrad(state, table, rows_R, gradient_RD)
            case _:
                change_RD = _adam(state, table, rows_R, gradient_RD)
        # Coalesced rows are unique, so the order of writing cannot matter.
        table.index_copy_(0, rows_R, weights_RD - rate * change_RD)


def _adam(state: dict[str, Tensor], table: Tensor, rows_R: Tensor, gradient_RD: Tensor) -> Tensor:
    if not state:
        # float32, for torch converts a state to the type of its weights when it loads it; exact up to 2^24 steps.
        state["steps"] = table.new_zeros(len(table), 1)
        state["mean"], state["square"] = torch.zeros_like(table), torch.zeros_like(table)
    steps_R1 = _read(state["steps"], rows_R).add_(1)
    mean_RD = _read(state["mean"], rows_R).lerp_(gradient_RD, 1 - BETAS[0])
    square_RD = _read(state["square"], rows_R).lerp_(gradient_RD.square(), 1 - BETAS[1])
    for name, value in {"steps": steps_R1, "mean": mean_RD, "square": square_RD}.items():
        state[name].index_copy_(0, rows_R, value)
    spread_RD = (square_RD / (1 - BETAS[1] ** steps_R1)).sqrt_().add_(ADAM_EPS)
    return mean_RD / (1 - BETAS[0] ** steps_R1) / spread_RD


def _adagrad(state: dict[str, Tensor], table: Tensor, rows_R: Tensor, gradient_RD: Tensor) -> Tensor:
    if not state:
        state["squares"] = table.new_zeros(len(table), 1)
    squares_R1 = _read(state["squares"], rows_R) + gradient_RD.square().mean(dim=1, keepdim=True)
    state["squares"].index_copy_(0, rows_R, squares_R1)
    return gradient_RD / (squares_R1.sqrt() + ADAGRAD_EPS)


def _momentum(state: dict[str, Tensor], table: Tensor, rows_R: Tensor, gradient_RD: Tensor, momentum: float) -> Tensor:
    if not momentum:
        return gradient_RD
    if not state:
        state["sum"] = torch.zeros_like(table)
    sum_RD = momentum * _read(state["sum"], rows_R) + gradient_RD
    state["sum"].index_copy_(0, rows_R, sum_RD)
    return sum_RD


def _read(table: Tensor, rows_R: Tensor) -> Tensor:
    # A tenth of the time of `table[rows_R]`.
    return table.index_select(0, rows_R)
