"""What a training puts into its bundle: the exported encoder, the counters, and the blend of them."""

import functools
import importlib.metadata
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from serving.bundle import BlendSpec, BundleContents, EncoderSpec, GoldenEvents
from serving.bundle.parts import load_encoder
from serving.counters import Counter
from serving.index import Index
from serving.retrieval import EncoderSide, Weights
from training.blend import Fitted, Sides, fit_blend
from training.counters import fit_counter
from training.errors import DataError
from training.export import check_parity, export_encoder, table_of
from training.models import SessionEncoder
from training.prepared import Prepared
from training.recipes.recipe import Recipe

PARITY_SESSIONS = 1000
GOLDEN_SESSIONS = 8

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EncoderPart:
    """An encoder as a bundle keeps it."""

    spec: EncoderSpec
    onnx: bytes
    tensors: dict[str, Vectors] = field(default_factory=dict)


def encoder_part(encoder: SessionEncoder, recipe: Recipe, data: Prepared) -> EncoderPart:
    """Export an encoder and prove the export.

    Raises:
        TrainingError: the export differs from the trained network.

    """
    onnx = export_encoder(encoder)
    check_parity(encoder, onnx, data.spread(PARITY_SESSIONS), recipe.window)
    with torch.inference_mode():
        inputs = encoder.input_vectors()
        tables = {
            "vectors": encoder.item_vectors().numpy(),
            "input_vectors": None if inputs is None else inputs.numpy(),
            "type_vectors": table_of(encoder.types),
            "silence_vectors": table_of(encoder.silences),
        }
    spec = EncoderSpec(
        kind=encoder.kind,
        form=encoder.form,
        input_dim=encoder.input_dim,
        dim=encoder.dim,
        state_size=encoder.state_size,
        window=recipe.window,
        scale=encoder.scale,
        event_types=list(data.event_types) if encoder.types is not None else [],
        silences=encoder.silences is not None,
        time_of=encoder.time_of,
    )
    return EncoderPart(spec=spec, onnx=onnx, tensors={k: table for k, table in tables.items() if table is not None})


def check_counters(recipe: Recipe, data: Prepared) -> None:
    """Refuse, before an encoder is trained, counters that cannot be fitted after it.

    Raises:
        DataError: one has a half-life, and the clicks have no times.

    """
    for place, config in enumerate(recipe.counters):
        if config.half_life_days is not None and not data.clicks.timed:
            key = f"counters.{place}.half_life_days"
            raise DataError(
                f"{data.clicks.name} has no times, which {key}={config.half_life_days:g} needs: set it to none, or "
                "take data with times"
            )


def fit_counters(recipe: Recipe, data: Prepared) -> list[Counter]:
    """Fit the recipe's counters to the training clicks."""
    times_ms, sequences = data.times_ms, data.sequences
    return [fit_counter(config, sequences, len(data.catalogue), times_ms) for config in recipe.counters]


def blend_of(recipe: Recipe, data: Prepared, encoder: EncoderPart | None, counters: Sequence[Counter]) -> Fitted:
    """Fit the blend to the validation cases."""
    nearest = None
    if encoder is not None:
        vectors = encoder.tensors["vectors"]
        index = Index.build(vectors, recipe.index)
        nearest = EncoderSide(index=index, vectors=vectors, scale=encoder.spec.scale, weight=1.0)
    sides = Sides(
        encoder=None if encoder is None else load_encoder(encoder.spec, encoder.onnx, encoder.tensors, "blend"),
        nearest=nearest,
        counters=counters,
        catalogue=data.catalogue,
        event_types=data.event_types,
    )
    return fit_blend(sides, data.validation, recipe.blend, exclude=recipe.exclude)


def bundle_contents(
    recipe: Recipe,
    data: Prepared,
    encoder: EncoderPart | None,
    counters: Sequence[Counter],
    weights: Weights | None,
    *,
    seed: int,
    described: dict[str, Any],
    metrics: dict[str, Any],
) -> BundleContents:
    """Put the parts together; `described` is the manifest's account of the data, `metrics` of what was measured."""
    ids = data.catalogue.item_ids
    tensors = {} if encoder is None else encoder.tensors
    servable = encoder is None or not encoder.spec.needs
    titles = data.clicks.titles
    return BundleContents(
        item_ids=ids[1:],
        popularity=data.counts,
        encoder=None if encoder is None else encoder.spec,
        encoder_onnx=b"" if encoder is None else encoder.onnx,
        vectors=tensors.get("vectors"),
        input_vectors=tensors.get("input_vectors"),
        type_vectors=tensors.get("type_vectors"),
        silence_vectors=tensors.get("silence_vectors"),
        counters=counters,
        blend=None if weights is None else _blend_spec(weights, recipe.blend.candidates),
        titles=None if titles is None else [titles.get(item_id, item_id) for item_id in ids[1:]],
        index_factory=recipe.index,
        recipe=recipe.parameters(),
        seed=seed,
        code_revision=code_revision(),
        data=described,
        metrics=metrics,
        golden_sessions=golden_events(data) if servable else (),
    )


def golden_events(data: Prepared) -> list[GoldenEvents]:
    """Return the training sessions that the bundle is proved by, with the types and times of their events."""
    ids, types = data.catalogue.item_ids, data.event_types
    return [
        GoldenEvents(
            items=[ids[row] for row in session.rows.tolist()],
            types=[types[number - 1] for number in session.types.tolist()],
            times=session.times.tolist(),
        )
        for session in data.varied(GOLDEN_SESSIONS)
    ]


def _blend_spec(weights: Weights, candidates: int) -> BlendSpec:
    return BlendSpec(
        encoder=weights.encoder, counters=list(weights.counters), floors=list(weights.floors), candidates=candidates
    )


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
