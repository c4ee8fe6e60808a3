"""What makes a training repeatable on a CPU: seeds for each epoch, and operations that sum in a fixed order."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seeded(seed: int, epoch: int, process: int = 0) -> torch.Generator:
    """Seed torch (dropout) and return a generator (order, negatives), each with its own numbers for this epoch.

    The processes of a training have the same generator, and dropout of their own.
    """

    def number(purpose: str) -> int:
        digest = hashlib.blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    torch.manual_seed(number(f"dropout/{process}" if process else "dropout"))
    return torch.Generator().manual_seed(number("order"))


@contextmanager
def deterministic(threads: int, device: torch.device | None = None) -> Iterator[None]:
    """Run torch with this many threads and without operations whose sums depend on timing; restore all afterwards.

    Nothing of this holds on a GPU, where some operations have no other form.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device is None or device.type == "cpu")
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
