"""From a recipe and a click log to a bundle."""

import functools
import importlib.metadata
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from serving.bundle import Bundle, BundleContents, EncoderSpec, write_bundle
from serving.catalogue import Catalogue
from serving.errors import WrongUse
from serving.index import check_factory
from training.batches import Windows, cut_windows
from training.checkpoint import CHECKPOINT, load_checkpoint
from training.curve import write_curve
from training.data.dataset import describe
from training.data.log import ClickLog
from training.data.sequences import Rows, build_catalogue, popularity, to_sequences
from training.data.splits import Training, parse_protocol
from training.determinism import deterministic, seeded
from training.errors import DataError
from training.evaluation.cases import build_cases
from training.export import check_parity, export_step
from training.loop import MONITORED_AT, Progress, Report, Trainer
from training.losses import Loss
from training.models import SessionEncoder, build_encoder
from training.negatives import target_counts
from training.recipes.recipe import Recipe
from training.validation import EncoderScorer, validation_figures

PARITY_SESSIONS = 1000
GOLDEN_SESSIONS = 8


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    bundle: Bundle
    progress: Progress
    encoder: SessionEncoder
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
    clicks = training.clicks
    catalogue = build_catalogue(clicks.frame)
    sessions = to_sequences(clicks.frame, catalogue)
    windows = cut_windows(sessions, recipe.window)
    if windows.targets == 0:
        raise DataError(f"{clicks.name} has no session of two clicks to learn from; check how its sessions are named")
    check_factory(recipe.index, len(catalogue), recipe.model.dim)
    trainer = replace(
        _trainer(recipe, training, catalogue, sessions, windows, seed),
        checkpoints=checkpoints_of(out),
        max_seconds=max_seconds,
        report=report,
    )
    if resume:
        trainer.resume(load_checkpoint(checkpoints_of(out), trainer.identity))
    progress = trainer.run()
    contents = _contents(recipe, training, catalogue, sessions, trainer.encoder, progress, seed)
    bundle = write_bundle(out, contents)
    write_curve(curve_of(out), progress, recipe.loop.monitor)
    return Trained(bundle, progress, trainer.encoder)


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


def _trainer(
    recipe: Recipe,
    training: Training,
    catalogue: Catalogue,
    sessions: Sequence[Rows],
    windows: Windows,
    seed: int,
) -> Trainer:
    """Put the parts of a training together, with freshly initialised weights."""
    cases = build_cases(training.validation, catalogue)
    counts = popularity(sessions, len(catalogue))
    with deterministic(recipe.loop.threads):
        seeded(seed, 0)
        encoder = build_encoder(recipe.model, len(catalogue))
    scorer = EncoderScorer(encoder, recipe.window, counts)
    return Trainer(
        encoder=encoder,
        windows=windows,
        loss=Loss(recipe.loss, torch.from_numpy(counts), target_counts(windows, len(catalogue))),
        validate=lambda: validation_figures(scorer, cases, exclude=recipe.exclude, k=MONITORED_AT),
        config=recipe.loop,
        optimizer=recipe.optimizer,
        seed=seed,
        identity=_identity(recipe, training, seed),
    )


def _identity(recipe: Recipe, training: Training, seed: int) -> dict[str, Any]:
    """Return what decides the weights. The index does not, so a training that stands may end in another one."""
    decisive = {key: value for key, value in recipe.parameters().items() if key != "index"}
    return {"recipe": decisive, "seed": seed, "clicks": training.clicks.fingerprint}


def _contents(
    recipe: Recipe,
    training: Training,
    catalogue: Catalogue,
    sessions: Sequence[Rows],
    encoder: SessionEncoder,
    progress: Progress,
    seed: int,
) -> BundleContents:
    """Export the encoder, prove the export, and describe it all."""
    step = export_step(encoder)
    check_parity(encoder, step, _spread(sessions, PARITY_SESSIONS), recipe.window)
    inputs = encoder.input_vectors()
    return BundleContents(
        encoder=EncoderSpec(
            kind=encoder.kind,
            form=encoder.form,
            input_dim=encoder.input_dim,
            dim=encoder.dim,
            state_size=encoder.state_size,
            window=recipe.window,
        ),
        encoder_onnx=step,
        item_ids=catalogue.item_ids[1:],
        vectors=encoder.item_vectors().detach().numpy(),
        input_vectors=None if inputs is None else inputs.detach().numpy(),
        popularity=popularity(sessions, len(catalogue)),
        titles=_titles(training.clicks, catalogue),
        index_factory=recipe.index,
        recipe=recipe.parameters(),
        seed=seed,
        code_revision=code_revision(),
        data=describe(training, parse_protocol(recipe.protocol), recipe.preparation),
        metrics=_metrics(recipe, training, progress),
        golden_sessions=[
            [catalogue.item_ids[row] for row in session.tolist()] for session in _spread(sessions, GOLDEN_SESSIONS)
        ],
    )


def _spread(sessions: Sequence[Rows], count: int) -> list[Rows]:
    """Return up to `count` sessions of two clicks or more, evenly spread over the data, the longest one first."""
    usable = [session for session in sessions if len(session) > 1]
    every = max(1, len(usable) // count)
    return [max(usable, key=len), *usable[::every]][:count]


def _titles(clicks: ClickLog, catalogue: Catalogue) -> list[str] | None:
    titles = clicks.titles
    return None if titles is None else [titles.get(item_id, item_id) for item_id in catalogue.item_ids[1:]]


def _metrics(recipe: Recipe, training: Training, progress: Progress) -> dict[str, Any]:
    best = progress.best()
    assert best is not None  # a training that ended has an epoch
    return {
        "validation": {
            "protocol": recipe.protocol,
            "exclude": recipe.exclude,
            "cases": training.validation.cases,
            "epoch": best.number,
            "epochs": len(progress.epochs),
            "loss": best.loss,
            **best.validation,
        }
    }


@functools.cache
def code_revision() -> str:
    """Return the installed version and, in a clone, its commit."""
    version = importlib.metadata.version("nextclick")
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():  # installed, perhaps inside somebody else's repository
        return version
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{described.stdout.strip()}"
