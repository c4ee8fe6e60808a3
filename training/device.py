"""Where a training computes, and in which precision."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

from serving.errors import WrongUse

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bf16"]


def find_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """Return the device that a configuration means, "auto" being a GPU where there is one.

    `local_rank` numbers the processes of a machine; each takes a GPU of its own.

    Raises:
        WrongUse: there is no GPU, or fewer than processes.

    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not found):
        return torch.device("cpu")
    if local_rank >= found:
        raise WrongUse(
            f"loop.device is {wanted!r}, but torch finds {found} GPUs for process {local_rank + 1} of this machine: "
            "set loop.device=cpu, or start fewer processes"
        )
    return torch.device("cuda", local_rank)


def computing(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return the context of an encoder's forward pass: with bf16, matrix products take and give bfloat16."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
