"""What a training step costs with a large catalogue: ms of CPU in each part, and the most memory that it took.

    .venv/bin/python -m tests.benchmarks.training_step [--items 1000000] [--tables sparse|dense] [--kind adam] ...

A GRU over random sessions; the loss compares `--targets` next items with `--negatives` that they share (or the whole
catalogue, `--loss softmax`). Prints the medians, and all of it as JSON. One process measures one setting, for the most
memory of a process only grows.
"""

import argparse
import json
import resource
import statistics
import time

import numpy as np
import torch

from training.batches import Batch, cut_windows, epoch_batches
from training.data.sequences import Events
from training.determinism import deterministic, seeded
from training.losses import Loss, LossConfig
from training.models import GRUConfig, SessionEncoder, build_encoder
from training.negatives import target_counts
from training.optimizer import Optimizer, OptimizerConfig, make_optimizer

PARTS = ("forward", "loss", "backward", "optimizer")
SESSION = 8


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="CPU and memory of a training step.")
    parser.add_argument("--items", type=int, default=1_000_000, help="items of the catalogue")
    parser.add_argument("--dim", type=int, default=64, help="width of item vectors and of the GRU")
    parser.add_argument("--targets", type=int, default=512, help="next items that a step learns from")
    parser.add_argument("--loss", default="sampled-softmax", help="softmax, sampled-softmax, gbce, bpr-max or bce")
    parser.add_argument("--negatives", type=int, default=2048, help="negatives of a batch")
    parser.add_argument("--max-scores", type=int, default=2**23, help="scores held at once")
    parser.add_argument("--kind", default="adam", help="adam, adamw, sgd or adagrad")
    parser.add_argument("--tables", default="sparse", help="dense or sparse")
    parser.add_argument("--steps", type=int, default=30, help="steps of which the median is told")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    with deterministic(options.threads):
        figures = measure(options)
    print("  ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    print(json.dumps({**vars(options), "figures": figures}))


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Return the median milliseconds of CPU of a step and its parts, and the process's largest memory in MiB."""
    config = LossConfig(kind=options.loss, negatives=options.negatives, max_scores=options.max_scores)
    generator = seeded(0, 1)
    # Twice the steps: the first half warms up, and gives the optimiser its state.
    choose = np.random.default_rng(0)
    drawn = choose.integers(1, options.items + 1, (2 * options.steps * options.targets // SESSION, SESSION + 1))
    nothing = np.zeros(SESSION + 1, np.int64)
    windows = cut_windows([Events(rows, nothing, nothing) for rows in drawn], 50)
    encoder = build_encoder(GRUConfig(dim=options.dim, hidden=options.dim), options.items)
    loss = Loss(config, torch.ones(options.items + 1), target_counts(windows, options.items))
    optimizer = make_optimizer(
        OptimizerConfig(kind=options.kind, tables=options.tables), encoder, looks_up=loss.looks_up
    )
    steps = [
        _step(encoder, loss, optimizer, batch, generator)
        for batch in epoch_batches(windows, options.targets, generator)
    ][options.steps :]
    figures = {part: statistics.median(step[part] for step in steps) for part in PARTS}
    figures["step"] = statistics.median(sum(step.values()) for step in steps)
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {name: round(value, 2) for name, value in figures.items()}


def _step(
    encoder: SessionEncoder, loss: Loss, optimizer: Optimizer, batch: Batch, generator: torch.Generator
) -> dict[str, float]:
    times = [time.process_time()]
    vectors = encoder(batch.sessions)[batch.mask]
    times.append(time.process_time())
    value = loss(encoder, vectors, batch.targets[batch.mask], generator)
    times.append(time.process_time())
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    times.append(time.process_time())
    optimizer.step(0.5)
    times.append(time.process_time())
    return {part: 1e3 * (end - begin) for part, begin, end in zip(PARTS, times[:-1], times[1:], strict=True)}


if __name__ == "__main__":
    main()
