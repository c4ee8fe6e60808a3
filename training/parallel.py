"""One training in several processes, started by torchrun: each learns from its share of every batch.

All processes read the same data, make the same batches in the same order and draw the same negatives; each computes
the gradients of its own windows, and all follow the mean over the targets of the whole batch. So the weights are those
of one process, but for rounding and for dropout, whose numbers every process draws for itself.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.batches import Batch

T = TypeVar("T")

# Others wait while the first process validates and writes the bundle; torchrun ends them all when one fails.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Group:
    """The processes of a training: this one's number among all, and among those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Tell whether this process validates, speaks and writes."""
        return self.rank == 0

    def share(self, batch: Batch) -> tuple[Batch, int]:
        """Return this process's windows of a batch, and the number of their targets.

        A process that is left without a window takes the first one, with 0 targets: it draws what the others draw.
        """
        if self.size == 1:
            return batch, int(batch.mask.sum())
        mine = slice(self.rank, None, self.size)
        left_out = self.rank >= len(batch.mask)
        here = _windows(batch, slice(0, 1) if left_out else mine)
        return here, 0 if left_out else int(here.mask.sum())

    def average(self, weights: Iterable[nn.Parameter], loss: float, share: float) -> float:
        """Replace the gradients by the mean over all processes, each counting by its share of the targets.

        Returns the mean of the losses likewise.
        """
        if self.size == 1:
            return loss
        # Parameters that no event of a share has touched have no gradient here, and may have one elsewhere.
        dense: list[Tensor] = []
        for weight in weights:
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = self._rows_of_all(weight.grad * share)
                continue
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            dense.append(weight.grad.mul_(share))
        flat = torch.cat([torch.tensor([loss * share], device=dense[0].device), *(part.flatten() for part in dense)])
        dist.all_reduce(flat)
        for part, mean in zip(dense, torch.split(flat[1:], [part.numel() for part in dense]), strict=True):
            part.copy_(mean.view_as(part))
        return float(flat[0])

    def _rows_of_all(self, gradient: Tensor) -> Tensor:
        """Return the sum of everybody's sparse gradients, added up in the order of the processes."""
        gradient = gradient.coalesce()
        rows, values = gradient.indices(), gradient.values()
        counts = [int(count) for count in self.gathered(torch.tensor([rows.shape[1]]))]
        # Gloo gathers tensors of one shape only.
        most = max(counts)
        padded_rows = rows.new_zeros(1, most)
        padded_values = values.new_zeros(most, *values.shape[1:])
        padded_rows[:, : rows.shape[1]], padded_values[: len(values)] = rows, values
        all_rows = [part[:, :count] for part, count in zip(self.gathered(padded_rows), counts, strict=True)]
        all_values = [part[:count] for part, count in zip(self.gathered(padded_values), counts, strict=True)]
        summed = torch.sparse_coo_tensor(torch.cat(all_rows, dim=1), torch.cat(all_values), gradient.shape)
        return summed.coalesce()

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Return everybody's tensor, all of one shape, in the order of the processes."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor)
        return parts

    def agreed(self, *values: float) -> tuple[float, ...]:
        """Return the first process's numbers: clocks differ."""
        if self.size == 1:
            return values
        told = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(told, src=0)
        return tuple(told.tolist())

    def by_first(self, make: Callable[[], T]) -> T:
        """Return what the first process makes, once, to all; it must be picklable."""
        if self.size == 1:
            return make()
        told: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(told, src=0)
        made: T = told[0]
        return made

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


ALONE = Group()


@contextmanager
def started_by_torchrun() -> Iterator[Group]:
    """Join the processes that torchrun has started, and leave them at the end; a process alone is a group of one."""
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    # Gloo: works on CPUs, and with tensors of a GPU.
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), dist.get_node_local_rank())
    finally:
        dist.destroy_process_group()


def _windows(batch: Batch, chosen: slice) -> Batch:
    sessions = batch.sessions.each(lambda part: part[chosen])
    return Batch(sessions, batch.targets[chosen], batch.mask[chosen])
