"""A training that starts from the weights of a bundle: items keep their rows, and the rows their vectors.

Shape suffixes, this file only:
    V catalogue + 1    D width
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serving.bundle import Manifest, load_bundle
from serving.catalogue import Catalogue
from serving.errors import WrongUse
from training.checkpoint import checkpoints_of, load_checkpoint
from training.identity import difference, identity_of
from training.models import SessionEncoder
from training.recipes.recipe import Recipe

_ITEM_TABLES = ("items.output.weight", "items.input.weight")
_TYPE_TABLE = "types.weight"


@dataclass(frozen=True, kw_only=True)
class Start:
    """The encoder of a bundle: its weights by their names, and what the rows of its tables are.

    `clicks` are the fingerprints of all that it has learned from, by itself and by those that it started from.
    """

    bundle: str
    clicks: Sequence[str]
    catalogue: Catalogue
    event_types: Sequence[str]
    weights: Mapping[str, Tensor]


def read_start(bundle: Path, recipe: Recipe) -> Start:
    """Read the weights of a bundle, from the checkpoint beside it.

    Raises:
        BundleError: there is no bundle, or it is damaged.
        WrongUse: its encoder has another configuration than the recipe's.
        CheckpointError: its checkpoint is gone, or is of another training.

    """
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    model = recipe.parameters()["model"]
    if manifest.recipe.get("model") is None or model is None:
        raise WrongUse("without an encoder there are no weights to start from: leave --from out")
    if differs := difference({"model": manifest.recipe["model"]}, {"model": model}):
        raise WrongUse(f"{bundle} holds another encoder: {differs}; give the same values with --set")
    otherwise = "start without --from"
    checkpoint = load_checkpoint(checkpoints_of(bundle), identity_of(manifest), otherwise=otherwise)
    return Start(
        bundle=loaded.id,
        clicks=[manifest.data["fingerprint"], *learned_before(manifest)],
        catalogue=loaded.catalogue,
        event_types=manifest.session_encoder.event_types,
        weights={
            name.removeprefix("best/"): tensor
            for name, tensor in checkpoint.tensors.items()
            if name.startswith("best/")
        },
    )


def learned_before(manifest: Manifest) -> list[str]:
    """Return the fingerprints of the clicks that a bundle's weights had learned from before its own training."""
    return list(manifest.metrics.get("started_from", {}).get("clicks", []))


@torch.no_grad()
def initialise(encoder: SessionEncoder, start: Start, catalogue: Catalogue, event_types: Sequence[str]) -> None:
    """Give an encoder the weights of a bundle: those of items and event types by their names, all others as they are.

    What the bundle does not know stays as it is: freshly initialised.
    """
    items = _mapping(start.catalogue.item_ids, catalogue.item_ids)
    types = _mapping(["", *start.event_types], ["", *event_types])
    for name, weight in encoder.state_dict().items():
        if name in (*_ITEM_TABLES, _TYPE_TABLE):
            old, new = types if name == _TYPE_TABLE else items
            weight[new] = start.weights[name][old]
        else:
            weight.copy_(start.weights[name])


def account(start: Start, catalogue: Catalogue) -> dict[str, Any]:
    """Return what a manifest says of a start: the bundle, how many items stayed, came and left, and what it had learnt.

    `clicks` are the fingerprints of all clicks that were learned from before, by it and by those that it started from.
    """
    kept = len(catalogue.known_rows(start.catalogue.item_ids[1:]))
    return {
        "bundle": start.bundle,
        "kept": kept,
        "new": len(catalogue) - kept,
        "retired": len(start.catalogue) - kept,
        "clicks": list(start.clicks),
    }


def _mapping(old: Sequence[str], new: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the names that both lists have, in the one and in the other; the first is padding's."""
    place = {name: number for number, name in enumerate(old)}
    pairs = [(place[name], number) for number, name in enumerate(new) if name in place]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
