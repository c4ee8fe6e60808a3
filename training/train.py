"""From a recipe and a click log to a bundle."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from serving.bundle import Bundle, write_bundle
from serving.errors import WrongUse
from serving.index import check_factory
from training.batches import cut_windows
from training.checkpoint import CHECKPOINT, load_checkpoint
from training.contents import blend_of, bundle_contents, encoder_part, fit_counters
from training.curve import write_curve
from training.data.dataset import describe
from training.data.splits import Training, parse_protocol
from training.determinism import deterministic, seeded
from training.errors import DataError
from training.loop import MONITORED_AT, Progress, Report, Trainer
from training.losses import Loss
from training.models import AnyConfig, SessionEncoder, build_encoder
from training.negatives import target_counts
from training.prepared import Prepared, prepare_training
from training.recipes.recipe import Recipe
from training.validation import EncoderScorer, validation_figures

# What a checkpoint may differ in from the training that goes on from it: it decides no weight of the encoder.
_INDECISIVE = frozenset({"index", "counters", "blend"})


@dataclass(frozen=True)
class Trained:
    """What a training gave; `progress` and `encoder` are None where the recipe has counters alone."""

    bundle: Bundle
    progress: Progress | None
    encoder: SessionEncoder | None
    """The network that was exported, with its best weights."""


def checkpoints_of(out: Path) -> Path:
    """Return the checkpoint folder of a bundle that is or will be at `out`: beside it."""
    return out.with_name(out.name + ".checkpoint")


def curve_of(out: Path) -> Path:
    """Return the file of the loss curve of a bundle at `out`: beside it."""
    return out.with_name(out.name + ".curve.png")


def train_bundle(
    recipe: Recipe,
    training: Training,
    *,
    seed: int,
    out: Path,
    resume: bool = False,
    max_seconds: float | None = None,
    report: Callable[[Report], None] = lambda _: None,
) -> Trained:
    """Train by a recipe and write a bundle at `out`, its loss curve and its checkpoint beside it.

    `training` is what `training.data.dataset.read_training` gives for the recipe's protocol and preparation. With
    `resume`, go on from the checkpoint beside `out`. `max_seconds` shortens the plan to what fits (`Trainer`).

    Raises:
        WrongUse: `out` exists or cannot be made, the checkpoint of an unfinished run stands there and `resume` is
            False, or FAISS cannot build the index over these items.
        DataError: there is nothing to learn from.
        CheckpointError: `resume` finds no checkpoint of this very training.
        TrainingError: the training diverged, or the export differs from it.

    """
    check_free(out, resume)
    data = prepare_training(training)
    trainer, encoder, metrics = None, None, {}
    if recipe.model is not None:
        trainer = replace(
            make_trainer(recipe, recipe.model, data, seed),
            checkpoints=checkpoints_of(out),
            max_seconds=max_seconds,
            report=report,
        )
        if resume:
            trainer.resume(load_checkpoint(checkpoints_of(out), trainer.identity))
        trainer.run()
        encoder = encoder_part(trainer.encoder, recipe, data)
        metrics["validation"] = _validation(recipe, data, trainer.progress)
    counters = fit_counters(recipe, data)
    weights = None
    if counters:
        fitted = blend_of(recipe, data, encoder, counters)
        weights = fitted.weights
        metrics["blend"] = {"exclude": recipe.exclude, "cases": fitted.cases, **fitted.figures}
    described = describe(training, parse_protocol(recipe.protocol), recipe.preparation)
    contents = bundle_contents(
        recipe, data, encoder, counters, weights, seed=seed, described=described, metrics=metrics
    )
    bundle = write_bundle(out, contents)
    if trainer is None:
        return Trained(bundle, None, None)
    write_curve(curve_of(out), trainer.progress, recipe.loop.monitor)
    return Trained(bundle, trainer.progress, trainer.encoder)


def check_free(out: Path, resume: bool) -> None:
    """Refuse an `out` that exists or cannot be made, and a checkpoint beside it that would be lost.

    Raises:
        WrongUse: any of them.

    """
    if out.exists():
        raise WrongUse(f"{out} exists already; bundles are never overwritten: name another directory")
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    try:
        # Permissions do not tell what the operating system will do, above all to root.
        tempfile.TemporaryDirectory(prefix=".nextclick-", dir=nearest).cleanup()
    except OSError as error:
        raise WrongUse(f"{out} cannot be made in {nearest} ({error.strerror}): name another directory") from error
    if not resume and (checkpoints_of(out) / CHECKPOINT).exists():
        raise WrongUse(
            f"{checkpoints_of(out)} holds the checkpoint of an earlier training: go on from it with --resume, "
            "or remove it"
        )


def make_trainer(recipe: Recipe, model: AnyConfig, data: Prepared, seed: int) -> Trainer:
    """Put the parts of a training together, with freshly initialised weights.

    Raises:
        WrongUse: FAISS cannot build the index over these items.
        DataError: there is nothing to learn from, or the encoder reads times that the data do not have.

    """
    clicks = data.clicks
    windows = cut_windows(data.sessions, recipe.window)
    if windows.targets == 0:
        raise DataError(f"{clicks.name} has no session of two clicks to learn from; check how its sessions are named")
    check_factory(recipe.index, len(data.catalogue), model.dim)
    with deterministic(recipe.loop.threads):
        seeded(seed, 0)
        encoder = build_encoder(model, len(data.catalogue), len(data.event_types))
    if encoder.timed and not clicks.timed:
        raise DataError(
            f"{clicks.name} has no times, which this {encoder.kind} reads: set model.silences=false, and "
            "model.time_of=none where the model has it, or take data with times"
        )
    scorer = EncoderScorer(encoder, recipe.window, data.counts)
    return Trainer(
        encoder=encoder,
        windows=windows,
        loss=Loss(recipe.loss, torch.from_numpy(data.counts), target_counts(windows, len(data.catalogue))),
        validate=lambda: validation_figures(scorer, data.validation, exclude=recipe.exclude, k=MONITORED_AT),
        config=recipe.loop,
        optimizer=recipe.optimizer,
        seed=seed,
        identity=_identity(recipe, data, seed),
    )


def _identity(recipe: Recipe, data: Prepared, seed: int) -> dict[str, Any]:
    """Return what decides the weights: a training that stands may end in another index or another blend."""
    decisive = {key: value for key, value in recipe.parameters().items() if key not in _INDECISIVE}
    return {"recipe": decisive, "seed": seed, "clicks": data.clicks.fingerprint}


def _validation(recipe: Recipe, data: Prepared, progress: Progress) -> dict[str, Any]:
    best = progress.best()
    assert best is not None  # a training that ended has an epoch
    return {
        "protocol": recipe.protocol,
        "exclude": recipe.exclude,
        "cases": len(data.validation),
        "epoch": best.number,
        "epochs": len(progress.epochs),
        "loss": best.loss,
        **best.validation,
    }
