"""What candidates cost: from a session vector to the best items by an encoder, by counters and by blends of both.

    .venv/bin/python -m tests.benchmarks.retrieval [--sessions 2048] [--repeats 5]

The GRU that all benchmarks share and the counters of the recipe `diginetica`, on the same training clicks; sessions of
the test clicks, as they were before each click. CPU of one thread, us per click; the session vector is not in it
(`encoders`), nor is the writing of the list.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import faiss
import numpy as np

from serving.bundle import Bundle
from serving.counters import Counter
from serving.encoders import Reading
from serving.index import Index
from serving.retrieval import Blend, CounterSide, EncoderSide, NearestItems, Retrieval, Vectors
from serving.session import Moment
from tests.benchmarks.grown import DATA, FACTORY, trained_bundle
from tests.benchmarks.results import machine, middle, say, write
from tests.public_data import data_home
from training.counters import counter_name, fit_counter
from training.data.dataset import read_test, read_training
from training.data.protocol import parse_protocol
from training.evaluation.cases import build_cases
from training.evaluation.served import Moments
from training.prepared import prepare_training
from training.recipes import find_recipe

K = 21
"""A list of 20 and the current item, which is left out."""
CANDIDATES = 500
BATCHES = (64, 256)


class Asked(NamedTuple):
    """Sessions with their vectors, `[n, D]`."""

    moments: Sequence[Moment]
    vectors: Vectors


def main() -> None:
    """Measure, and write the page's figures."""
    parser = argparse.ArgumentParser(description="CPU per click of retrieval by an encoder, by counters, by both.")
    parser.add_argument("--sessions", type=int, default=2048, help="clicks that are answered in a measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of which the median is told")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    details: dict[str, Any] = {"machine": machine(broker=False), "options": vars(options), "runs": []}
    bundle = trained_bundle()
    details["items"] = len(bundle.catalogue)
    asked = _asked(bundle, options.sessions)
    figures = []
    for name, retrieval in _retrievals(bundle).items():
        for batch in BATCHES:
            spent = [_us_per_click(retrieval, asked, batch) for _ in range(1 + options.repeats)][1:]
            figures.append({"retrieval": name, "batch": batch, "us": middle(spent, 1)})
            details["runs"].append({**figures[-1], "spent": spent})
            say(f"{figures[-1]}")
    write("retrieval", figures, details)


def _asked(bundle: Bundle, count: int) -> Asked:
    """Return the sessions before so many of the test clicks, spread over all of them."""
    cases = build_cases(read_test(data_home() / DATA, parse_protocol("next-item")), bundle.catalogue)
    chosen = np.sort(np.random.default_rng(0).permutation(len(cases))[:count])
    moments = Moments.of_bundle(bundle)
    contexts = [cases.contexts(case, case + 1)[0] for case in chosen.tolist()]
    readings = [Reading([moments.of(at, context)], []) for at, context in enumerate(contexts)]
    vectors, known = bundle.encoder.encode(readings, bundle.catalogue.rows_of)
    known_ones = np.flatnonzero(known)
    return Asked([readings[at].moments[0] for at in known_ones.tolist()], vectors[known_ones])


def _retrievals(bundle: Bundle) -> dict[str, Retrieval]:
    """Return what is measured, by name."""
    protocol = parse_protocol("next-item")
    data = prepare_training(read_training(data_home() / DATA, protocol))
    configs = find_recipe("diginetica").counters
    counters = [fit_counter(config, data.sequences, len(data.catalogue), data.times_ms) for config in configs]
    names = [counter_name(config) for config in configs]
    flat, graph = Index.build(bundle.vectors, "Flat"), Index.build(bundle.vectors, FACTORY)

    def blend(index: Index | None, some: Sequence[Counter]) -> Blend:
        scale = bundle.manifest.session_encoder.scale
        side = None if index is None else EncoderSide(index=index, vectors=bundle.vectors, scale=scale, weight=1.0)
        sides = [CounterSide(counter=counter, weight=1.0, floor=1e-3) for counter in some]
        return Blend(side, sides, bundle.catalogue, CANDIDATES)

    return {
        "nearest items, Flat": NearestItems(flat),
        "nearest items, HNSW16": NearestItems(graph),
        **{f"{name} alone": blend(None, [counter]) for name, counter in zip(names, counters, strict=True)},
        "both counters": blend(None, counters),
        "blend of nearest items (Flat) and both counters": blend(flat, counters),
        "blend of nearest items (HNSW16) and both counters": blend(graph, counters),
    }


def _us_per_click(retrieval: Retrieval, asked: Asked, batch: int) -> float:
    began = time.process_time()
    for begin in range(0, len(asked.moments), batch):
        moments = asked.moments[begin : begin + batch]
        retrieval.search(moments, asked.vectors[begin : begin + batch], [True] * len(moments), K)
    return (time.process_time() - began) / len(asked.moments) * 1e6


if __name__ == "__main__":
    main()
