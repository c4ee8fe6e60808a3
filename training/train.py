"""From a recipe and a click log to a bundle."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from serving.bundle import Bundle, BundleContents, load_bundle, write_bundle
from serving.errors import WrongUse
from serving.index import check_factory
from training.account import MONITORED_AT, Progress, Report
from training.batches import cut_windows
from training.checkpoint import CHECKPOINT, checkpoints_of, load_checkpoint
from training.contents import blend_of, bundle_contents, check_counters, encoder_part, fit_counters
from training.curve import write_curve
from training.data.dataset import describe
from training.data.protocol import parse_protocol
from training.data.splits import Training
from training.determinism import deterministic, seeded
from training.errors import DataError
from training.identity import identity
from training.loop import CHECKPOINT_MINUTES, Trainer
from training.losses import Loss
from training.models import AnyConfig, SessionEncoder, build_encoder
from training.negatives import target_counts
from training.parallel import ALONE, Group
from training.prepared import Prepared, prepare_training
from training.recipes.recipe import Recipe
from training.refit import Chosen
from training.validation import EncoderScorer, validation_figures
from training.warm_start import Start, account, initialise


@dataclass(frozen=True)
class Trained:
    """What a training gave; `progress` and `encoder` are None where the recipe has counters alone."""

    bundle: Bundle
    progress: Progress | None
    encoder: SessionEncoder | None
    """The network that was exported, with its best weights."""


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
    refit: Chosen | None = None,
    start: Start | None = None,
    max_seconds: float | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    group: Group = ALONE,
    report: Callable[[Report], None] = lambda _: None,
) -> Trained:
    """Train by a recipe and write a bundle at `out`, its loss curve and its checkpoint beside it.

    `training` is what `training.data.dataset.read_training` gives for the recipe's protocol and preparation. With
    `resume`, go on from the checkpoint beside `out`. With `refit`, `training` has no validation part
    (`training.refit.read_refit`), and what was chosen is taken over. With `start`, begin with a bundle's weights.
    `max_seconds` shortens the plan to what fits, `checkpoint_minutes` is the time between checkpoints (`Trainer`).
    Every process of a `group` calls this; the first one writes.

    Raises:
        WrongUse: `out` exists or cannot be made, the checkpoint of an unfinished run stands there and `resume` is
            False, FAISS cannot build the index over these items, a refit has a budget or another start, or counters
            alone shall go on or have a budget.
        DataError: there is nothing to learn from, or a counter or the encoder needs times that the data do not have.
        CheckpointError: `resume` finds no checkpoint of this very training.
        TrainingError: the training diverged, or the export differs from it.

    """
    if group.first:
        check_free(out, resume)
    if recipe.model is None:
        _check_alone(recipe, resume, max_seconds)
    _check_refit(refit, start, max_seconds)
    data = prepare_training(training, None if start is None else start.catalogue)
    check_counters(recipe, data)
    trainer = None
    if recipe.model is not None:
        made = make_trainer(recipe, recipe.model, data, seed, start)
        trainer = replace(
            made,
            checkpoints=checkpoints_of(out),
            checkpoint_minutes=checkpoint_minutes,
            identity={**made.identity, "chosen_by": None if refit is None else refit.bundle},
            max_seconds=max_seconds,
            stop_after=None if refit is None else refit.epoch,
            group=group,
            report=report,
        )
        if refit is not None:
            trainer.validate = None
        if resume:
            trainer.resume(load_checkpoint(checkpoints_of(out), trainer.identity))
        trainer.run()
    bundle = None
    if group.first:
        described = describe(training, parse_protocol(recipe.protocol), recipe.preparation)
        bundle = write_bundle(out, _contents(recipe, data, trainer, refit, start, seed, described))
        if trainer is not None:
            write_curve(curve_of(out), trainer.progress, recipe.loop.monitor)
    group.wait()
    bundle = bundle or load_bundle(out)
    return Trained(bundle, None, None) if trainer is None else Trained(bundle, trainer.progress, trainer.encoder)


def _contents(
    recipe: Recipe,
    data: Prepared,
    trainer: Trainer | None,
    refit: Chosen | None,
    start: Start | None,
    seed: int,
    described: dict[str, Any],
) -> BundleContents:
    """Export the encoder, fit counters and blend, and put all that was measured beside them."""
    metrics: dict[str, Any] = {}
    if start is not None:
        metrics["started_from"] = account(start, data.catalogue)
    if refit is not None:
        metrics["chosen_by"] = {"bundle": refit.bundle, "seed": refit.seed, **refit.metrics}
    encoder = None if trainer is None else encoder_part(trainer.encoder, recipe, data)
    if trainer is not None and refit is None:
        metrics["validation"] = _validation(recipe, data, trainer.progress)
    counters = fit_counters(recipe, data)
    weights = None if refit is None else refit.weights
    if counters and refit is None:
        fitted = blend_of(recipe, data, encoder, counters)
        weights = fitted.weights
        metrics["blend"] = {"exclude": recipe.exclude, "cases": fitted.cases, **fitted.figures}
    return bundle_contents(recipe, data, encoder, counters, weights, seed=seed, described=described, metrics=metrics)


def _check_alone(recipe: Recipe, resume: bool, max_seconds: float | None) -> None:
    for option, given in (("--resume", resume), ("--max-seconds", max_seconds is not None)):
        if given:
            raise WrongUse(
                f"recipe {recipe.name} has no encoder, and counters are fitted anew in seconds: leave {option} out"
            )


def _check_refit(refit: Chosen | None, start: Start | None, max_seconds: float | None) -> None:
    if refit is None:
        return
    if max_seconds is not None:
        raise WrongUse("a refit repeats the schedule that was chosen, and no budget can shorten it: leave one out")
    given = None if start is None else start.bundle
    if given != refit.started_from:
        raise WrongUse(
            f"bundle {refit.bundle} was trained from {refit.started_from or 'fresh weights'}, this refit from "
            f"{given or 'fresh weights'}: give the same --from"
        )


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


def make_trainer(recipe: Recipe, model: AnyConfig, data: Prepared, seed: int, start: Start | None = None) -> Trainer:
    """Put the parts of a training together, with freshly initialised weights, or those that it starts from.

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
    if start is not None:
        initialise(encoder, start, data.catalogue, data.event_types)
    if encoder.timed and not clicks.timed:
        raise DataError(
            f"{clicks.name} has no times, which this {encoder.kind} reads: set model.silences=false, and "
            "model.time_of=none where the model has it, or take data with times"
        )
    scorer = EncoderScorer(encoder, recipe.window, data.counts)
    cases = data.validation.some(recipe.loop.validation_cases)
    return Trainer(
        encoder=encoder,
        windows=windows,
        loss=Loss(
            recipe.loss,
            torch.from_numpy(data.counts),
            target_counts(windows, len(data.catalogue)),
            recipe.loop.precision,
        ),
        validate=lambda: validation_figures(scorer, cases, exclude=recipe.exclude, ks=MONITORED_AT),
        config=recipe.loop,
        optimizer=recipe.optimizer,
        seed=seed,
        identity=identity(
            recipe.parameters(),
            seed=seed,
            clicks=clicks.fingerprint,
            validation=data.validation_fingerprint,
            chosen_by=None,
            started_from=None if start is None else start.bundle,
        ),
    )


def _validation(recipe: Recipe, data: Prepared, progress: Progress) -> dict[str, Any]:
    best = progress.best()
    assert best is not None  # a training that ended has an epoch
    return {
        "protocol": recipe.protocol,
        "exclude": recipe.exclude,
        "cases": len(data.validation.some(recipe.loop.validation_cases)),
        "epoch": best.number,
        "epochs": len(progress.epochs),
        "loss": best.loss,
        **({"shortened": True} if progress.shortened else {}),
        **best.validation,
    }
