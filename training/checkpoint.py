"""Checkpoints: what a training needs to go on as if it had never stopped. JSON and safetensors, no pickle.

A folder with `checkpoint.json` and the tensors that it names by checksum. The tensors are written first, under a name
of their own, and the JSON then takes its place in one rename: a process killed at any moment leaves the checkpoint
before or the one after, whole.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
from torch import Tensor

from training.errors import CheckpointError
from training.identity import difference

CHECKPOINT_FORMAT = 2
CHECKPOINT = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A training after whole epochs, or within one.

    `run` says which training it is (recipe, seed, data): another one must not go on from here. `progress` is the
    loop's own account, JSON-able. `tensors` are the weights, the best weights so far, the optimiser's state and, within
    an epoch, the state of the random numbers, by names that the loop gives.
    """

    run: Mapping[str, Any]
    progress: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    run: dict[str, Any]
    progress: dict[str, Any]
    tensors_file: str
    tensors_sha256: str


def checkpoints_of(out: Path) -> Path:
    """Return the checkpoint folder of a bundle that is or will be at `out`: beside it."""
    return out.with_name(out.name + ".checkpoint")


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the directory's last one, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    raw = safetensors.torch.save({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()})
    digest = hashlib.sha256(raw).hexdigest()
    document = _Document(
        CHECKPOINT_FORMAT, dict(checkpoint.run), dict(checkpoint.progress), f"{digest[:16]}.safetensors", digest
    )
    _replace(directory / document.tensors_file, raw)
    _replace(directory / CHECKPOINT, msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2))
    for stale in directory.glob("?" * 16 + ".safetensors"):
        if stale.name != document.tensors_file:
            stale.unlink()


def load_checkpoint(
    directory: Path, run: Mapping[str, Any], *, otherwise: str = "start without --resume"
) -> Checkpoint:
    """Read the checkpoint of a training; `otherwise` is what errors advise.

    Raises:
        CheckpointError: there is none, it is damaged or of another version, or belongs to another training.

    """
    path = directory / CHECKPOINT
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint in {directory}: {otherwise}") from None
    except msgspec.MsgspecError as error:
        raise CheckpointError(f"{path} is no checkpoint of a training ({error}): {otherwise}") from error
    if document.format != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path} has format {document.format}, this version reads format {CHECKPOINT_FORMAT}: "
            f"go on with the version that wrote it, or {otherwise}"
        )
    if run.get("validation") is not None and "validation" not in document.run:
        raise CheckpointError(
            f"{path} was written by an earlier version, which did not keep the validation part that epochs were chosen "
            f"by: go on with that version, or {otherwise}"
        )
    if differs := difference(document.run, run):
        raise CheckpointError(
            f"{path} belongs to another training: {differs}; use the same recipe, seed and data, or {otherwise}"
        )
    return Checkpoint(document.run, document.progress, _tensors(directory, document, otherwise))


def _tensors(directory: Path, document: _Document, otherwise: str) -> dict[str, Tensor]:
    path = directory / document.tensors_file
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not there, though {CHECKPOINT} names it: {otherwise}") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != document.tensors_sha256:
        raise CheckpointError(
            f"{path} is damaged: sha256 {found[:16]}..., expected {document.tensors_sha256[:16]}...; {otherwise}"
        )
    tensors: dict[str, Tensor] = safetensors.torch.load(raw)
    return tensors


def _replace(path: Path, raw: bytes) -> None:
    # One name for all that is unfinished, so that a killed process leaves at most one such file, and not for long.
    unfinished = path.with_name(".unfinished")
    with unfinished.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
