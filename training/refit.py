"""A last training on everything before the test: what was chosen on the validation part, without choosing again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.bundle.manifest import BlendSpec, bundle_id
from serving.bundle.read import read_manifest
from serving.errors import WrongUse
from serving.retrieval import Weights
from training.data.dataset import describe, read_training
from training.data.protocol import parse_protocol
from training.data.readers import ReadOptions
from training.data.splits import Training
from training.identity import difference
from training.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the training of a bundle found on the validation part.

    `epoch` is the best one, None where there is no encoder; `weights` are the blend's, None where there is none;
    `metrics` is what the bundle's manifest says.
    """

    bundle: str
    seed: int
    epoch: int | None
    weights: Weights | None
    started_from: str | None
    metrics: dict[str, Any]


def read_chosen(bundle: Path, recipe: Recipe) -> Chosen:
    """Read what was chosen with a recipe.

    Raises:
        BundleError: there is no bundle.
        WrongUse: it has another recipe, is a refit itself, or its schedule was cut short.

    """
    manifest, raw = read_manifest(bundle)
    if manifest.data.get("refit"):
        raise WrongUse(f"{bundle} is a refit, in which nothing was chosen: name the bundle that it was chosen by")
    if differs := difference(manifest.recipe, recipe.parameters()):
        raise WrongUse(f"{bundle} was trained by another recipe: {differs}; give the same recipe and --set")
    figures = manifest.metrics.get("validation", {})
    if figures.get("shortened"):
        raise WrongUse(
            f"{bundle} was trained within a time that cut its schedule short, which no other training can repeat: "
            "train it without --max-seconds, with the epochs that fit (loop.epochs)"
        )
    return Chosen(
        bundle=bundle_id(raw),
        seed=manifest.seed,
        epoch=figures.get("epoch"),
        weights=None if manifest.blend is None else _weights(manifest.blend),
        started_from=manifest.metrics.get("started_from", {}).get("bundle"),
        metrics=manifest.metrics,
    )


def read_refit(bundle: Path, recipe: Recipe, data: Path, options: ReadOptions) -> Training:
    """Read the clicks of training and validation part together, of the very data that a bundle was chosen on.

    A bundle of an earlier version does not tell its validation part, which then may be any.

    Raises:
        WrongUse: the bundle's training part or its validation part is not this data's.
        DataError: the data cannot be read.

    """
    protocol = parse_protocol(recipe.protocol)
    manifest, _ = read_manifest(bundle)
    here = describe(read_training(data, protocol, recipe.preparation, options), protocol, recipe.preparation)
    there = {"validation_fingerprint": here["validation_fingerprint"], **manifest.data}
    for key in ("protocol", "preparation", "rows", "sessions", "items", "fingerprint", "validation_fingerprint"):
        if there.get(key) != here[key]:
            part = "validation" if key.startswith("validation") else "training"
            raise WrongUse(
                f"{bundle} was made with other clicks than the {part} part of {data}: its {key} is "
                f"{there.get(key)!r}, here {here[key]!r}; give the data that it was trained on"
            )
    return read_training(data, protocol, recipe.preparation, options, refit=True)


def _weights(blend: BlendSpec) -> Weights:
    return Weights(encoder=blend.encoder, counters=tuple(blend.counters), floors=tuple(blend.floors))
