"""What makes a training repeatable on a CPU: seeds for each epoch, and operations that sum in a fixed order."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seeded(seed: int, epoch: int) -> torch.Generator:
    """Seed torch (dropout) and return a generator (order, negatives), each with its own numbers for this epoch."""

    def number(purpose: str) -> int:
        digest = hashlib.blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    torch.manual_seed(number("dropout"))
    return torch.Generator().manual_seed(number("order"))


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Run torch with this many threads and without operations whose sums depend on timing; restore all afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
