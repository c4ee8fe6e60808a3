"""What a session vector costs by encoder and length of the session: no index, no list, one thread, us of CPU per click.

    .venv/bin/python -m tests.benchmarks.encoders [--kinds gru ligr ...] [--dims 64] [--windows 50 200]

Each encoder has random weights, for they do not change the cost, and reads items alone; HSTU reads ages too. `full`
reads the session's window anew, as every click of a window form does; `carried` goes on from the state that the click
before left, as a step form does but after a restart or another bundle. Prints a line for each encoder, and writes
build/benchmarks/encoders.json as its neighbours do.
"""

import argparse
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from serving.encoders import Encoder, Reading, RecurrentEncoder, WindowEncoder
from serving.session import Moment, join_lines
from tests.benchmarks.results import machine, middle, say, write
from training.export import event_tables, export_encoder
from training.models import CONFIGS, SessionEncoder, build_encoder
from training.models.attention import AttentionConfig

ITEMS = 10_000
LENGTHS = (5, 20, 50, 200)
BATCHES = (64, 256)
START_MS = 1_780_000_000_000


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="CPU per click of each encoder, by the length of the session.")
    parser.add_argument("--kinds", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--dims", nargs="+", type=int, default=[64])
    parser.add_argument("--windows", nargs="+", type=int, default=[50, 200])
    parser.add_argument("--repeats", type=int, default=5, help="measurements of which the median is told")
    options = parser.parse_args()
    details: dict[str, Any] = {"machine": machine(broker=False), "options": vars(options), "runs": []}
    say(_line("encoder", "d", "window", "batch", "read", *(f"{length} events" for length in LENGTHS)))
    figures = []
    for kind in options.kinds:
        for dim in options.dims:
            for window in options.windows:
                figures += _measured(kind, dim, window, options.repeats, details["runs"])
    write("encoders", figures, details)


def _measured(kind: str, dim: int, window: int, repeats: int, runs: list[Any]) -> list[dict[str, Any]]:
    """Return a line of the table for each size of batch and way to read, us per click by length of the session."""
    encoder = _exported(kind, dim, window)
    ways = ("full", "carried") if isinstance(encoder, RecurrentEncoder) else ("full",)
    lines = []
    for batch in BATCHES:
        for way in ways:
            us = {}
            for length in LENGTHS:
                spent = [_us_per_click(encoder, length, batch, carried=way == "carried") for _ in range(1 + repeats)]
                spent = spent[1:]  # the first one also pays for memory that the others find
                us[length] = middle(spent, 1)
                runs.append({"kind": kind, "dim": dim, "window": window, "read": way, "batch": batch, length: spent})
            form = "step" if isinstance(encoder, RecurrentEncoder) else "window"
            say(_line(kind, dim, window, batch, way, *us.values()))
            lines.append(
                {
                    "kind": kind,
                    "form": form,
                    "dim": dim,
                    "window": window,
                    "batch": batch,
                    "read": way,
                    "us_by_length": us,
                }
            )
    return lines


def _exported(kind: str, dim: int, window: int) -> Encoder:
    """Return an encoder with random weights, run as a worker runs it."""
    config_type = CONFIGS[kind]
    sizes = {"dim": dim, "window": window} if issubclass(config_type, AttentionConfig) else {"dim": dim, "hidden": dim}
    torch.manual_seed(0)
    network: SessionEncoder = build_encoder(config_type(**sizes), ITEMS).eval()  # type: ignore[arg-type]
    exported, tables = export_encoder(network), event_tables(network)
    if network.form == "window":
        return WindowEncoder(exported, tables, dim=dim, window=window, time_of=network.time_of)
    return RecurrentEncoder(exported, tables, state_size=network.state_size, dim=dim, window=window, bundle="benchmark")


def _us_per_click(encoder: Encoder, length: int, batch: int, *, carried: bool) -> float:
    """Return the CPU time of one click each of `batch` sessions that then have `length` events."""
    random = np.random.default_rng(length)
    sessions = [random.integers(1, ITEMS + 1, length).tolist() for _ in range(batch)]
    readings = [Reading([], []) for _ in sessions]
    if carried:
        for reading, session in zip(readings, sessions, strict=True):
            reading.moments = [_moment(session, length - 1)]
        _encode(encoder, readings)
    for reading, session in zip(readings, sessions, strict=True):
        reading.moments = [_moment(session, length)]
    return _cpu_s(lambda: _encode(encoder, readings)) / batch * 1e6


def _encode(encoder: Encoder, readings: Sequence[Reading]) -> None:
    for at, reading in enumerate(readings):
        reading.moments[0].at = at
    encoder.encode(readings, lambda item_ids: list(map(int, item_ids)))


def _moment(session: Sequence[int], count: int) -> Moment:
    """Return a session as click `count` left it, an event every ten seconds; its "item ids" are rows."""
    times = struct.pack(f"<{count}q", *(START_MS + 10_000 * n for n in range(count)))
    return Moment(
        0, session[count - 1], count, join_lines(map(str, session[:count])), join_lines(["view"] * count), times
    )


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _line(*cells: object) -> str:
    return "  ".join(f"{cell!s:>10}" for cell in cells)


if __name__ == "__main__":
    main()
