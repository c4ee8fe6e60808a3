"""Makes docs/benchmarks.md from the figures of the last runs: `python -m tests.benchmarks.page`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.results import RESULTS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
TITLES = {
    "framework": "The stream alone",
    "pipeline": "The whole worker",
    "encoders": "The encoders alone",
    "retrieval": "Retrieval alone",
    "training": "Training",
    "evaluation": "Evaluation",
    "latency": "Latency",
    "recovery": "Recovery",
    "memory": "Memory",
}
# A run of `--systems` may leave out others, but not these.
REQUIRED = ("nextclick", "quix", "faust", "confluent")
NAMES = {
    "nextclick": "nextclick",
    "quix": "Quix Streams, a checkpoint every 2,048 events",
    "quix_4096": "Quix Streams, a checkpoint every 4,096 events",
    "quix_5s": "Quix Streams, a checkpoint every 5 s (its default)",
    "quix_bytes": "Quix Streams, copying ready bytes only",
    "faust": "Faust, stock, event by event",
    "confluent": "bare confluent-kafka loop",
    "aiokafka": "bare aiokafka loop",
    "aiokafka_librdkafka": "bare loop, aiokafka reads, librdkafka writes",
}
HEAD = """\
# Benchmarks

What nextclick costs, and how fast it is, on one machine with everything on it: Apache Kafka, the worker, and whoever
sends and reads. CPU, rates, latencies and seconds of recovery are medians over runs. Memory is one run, index recall is
computed once for each index, sizes and bytes on disk are those of one run. Single runs, seeds and versions are in
`build/benchmarks/PART.details.json`.

`make bench` measures all of it again (an hour on a quiet machine), `make bench-framework` and its sisters (`pipeline`,
`encoders`, `retrieval`, `training`, `evaluation`, `latency`, `recovery`, `memory`) one part; this page is written by
them. They need Linux, and all but `encoders`, `retrieval`, `training` and `evaluation` Java 17+ and Maven; `pipeline`,
`retrieval`, `evaluation`, `latency` and `memory` also the data set `diginetica-weeks`, and `evaluation` `ml-1m`, in
`shared/data`, or in the folder that `$NEXTCLICK_TEST_DATA` names. The first run trains a GRU and builds the indexes, up
to that of a million items: about seven minutes of one core. `ARGS` are the options of a part:

```text
make bench-framework ARGS="--repeats 3 --variants 1"
make bench-pipeline ARGS="--items 10000 --lengths 1 10"
make bench-latency ARGS="--items 100000 --seconds 10"
```

A framework run that leaves out nextclick, Quix Streams, Faust or the confluent-kafka loop (`--systems`) does not change
this page. A latency run whose echo was slow is void: it ends with an exit code other than zero and does not change it
either.

CPU is what the kernel charged to the process, all threads together. Others on the same cores add up to a third to it,
to everybody alike, so what is compared is measured in turns; latencies they make worthless, which is why each is taken
beside an echo. A load average far above 2 says that it was so.
"""


class Part(NamedTuple):
    """What a run left behind."""

    figures: Any
    details: dict[str, Any]


def main() -> None:
    """Write the page."""
    old = sections(PAGE.read_text()) if PAGE.exists() else {}
    PAGE.write_text(page_of({part: part_of(part) for part in TITLES}, old))
    print(f"written to {PAGE.relative_to(ROOT)}")


def page_of(found: dict[str, Part | None], old: dict[str, str]) -> str:
    """Return the page; a part without a run that counts keeps its old text, and says so where it has none."""
    texts = [HEAD]
    for part, measured in found.items():
        text = WRITERS[part](measured) if measured else old.get(part) or not_measured(part)
        texts.append(f"<!-- {part} -->\n{text.strip()}\n")
    return "\n".join(texts)


def part_of(part: str, results: Path = RESULTS) -> Part | None:
    """Return the last run of a part, None where there is none, or where it was void or left out what is required."""
    paths = [results / f"{part}.json", results / f"{part}.details.json"]
    if not all(path.exists() for path in paths):
        return None
    found = Part(*(json.loads(path.read_text()) for path in paths))
    incomplete = part == "framework" and not found.figures["cpu_us_per_event"].keys() >= set(REQUIRED)
    return None if found.details.get("void") or incomplete else found


def not_measured(part: str) -> str:
    """Write a part that has no figures yet."""
    return f"## {TITLES[part]}\n\nNot measured yet on a quiet machine: `make bench-{part}`.\n"


def sections(page: str) -> dict[str, str]:
    """Return the text of each part of a page, by the comment that it begins with."""
    pieces = page.split("<!-- ")[1:]
    return {name: text for name, _, text in (piece.partition(" -->\n") for piece in pieces)}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def conditions(details: dict[str, Any]) -> str:
    """Say where a part was measured."""
    machine = details["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    broker = f", {machine['broker']}" if machine["broker"] else ""
    return (
        f"Measured at commit {machine['commit']} on {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gb']} GB, Linux {machine['kernel']}, Python {machine['python']}{broker}; "
        f"{packages}. Load average before and after: {machine['load_average_before']:.1f} and "
        f"{machine['load_average_after']:.1f}.\n"
    )


def framework(part: Part) -> str:
    """Write the part on the stream alone."""
    details, cpu = part.details, part.figures["cpu_us_per_event"]
    ours = cpu["nextclick"]
    rows = [
        [NAMES[name], f"{cost:.1f}", f"{1e6 / cost:,.0f}", "" if name == "nextclick" else f"{ours / cost:.2f}"]
        for name, cost in sorted(cpu.items(), key=lambda pair: pair[1])
    ]
    written = details["written"]
    states = [[NAMES[name], *(f"{row[key]:,}" for key in WRITTEN)] for name, row in written.items()]
    runs = len(details["runs"]["nextclick"])
    settings = [["the defaults", f"{ours:.1f}", f"{details['disk_bytes_per_event']:,}"]]
    settings += [
        [f"`{row['setting']} = {row['value']}`", f"{row['cpu_us_per_event']:.1f}", f"{row['disk_bytes_per_event']:,}"]
        for row in details["settings"]
    ]
    return f"""
## {TITLES["framework"]}

CPU per event with lists that nobody has to compute: {details["events"]:,} clicks of {details["sessions"]:,} live
sessions, each answered with a list of 20 items and a state of about 1.5 KB in a changelog, acknowledged, everything
packed with lz4. Same broker, same clicks, in turns, median of {runs} runs, from the first tenth until the last commit.

nextclick is the real worker; its encoder and its index are replaced by prepared vectors and prepared lists. On Quix
Streams and Faust the same work is done for a click, with the same code (check it, fold it into the session's state,
score the list shown before, write list and state): this is what the service would cost there. The bare loops, and Quix
Streams once more, only copy prepared bytes of the same sizes. Quix Streams writes the states that changed to the
changelog at a checkpoint; with its default of five seconds that is a small part of them, so it is measured with others
too: every 2,048 events, which is about as often, in time, as nextclick writes states (a tenth of a second apart), and
every 4,096, which writes about as many. How many each wrote is below.

{table(["", "CPU us per event", "events/s per core", "nextclick's share of it"], rows)}
{table(["written in one run", "lists", "bytes each", "states", "bytes each"], states)}
nextclick with other settings (medians of the runs that `--variants` says, 3 by default), and what its lists and states
take of the broker's disk:

{table(["", "CPU us per event", "bytes on disk per event"], settings)}
{conditions(details)}"""


WRITTEN = ("lists", "list_bytes", "states", "state_bytes")


def pipeline(part: Part) -> str:
    """Write the part on the whole worker."""
    details = part.details
    rows = [
        [f"{row['items']:,}", f"{row['events_per_second_per_core']:,.0f}", f"{row['index_recall_at_10']:.4f}"]
        for row in part.figures
    ]
    lengths = [[row["clicks"], f"{row['cpu_us_per_event']:.0f}"] for row in details["session_length"]]
    like = details["likeness"]
    keys = [key for key in like["trained"] if key != "items"]
    alike = [[name, *(like[name][key] for key in keys)] for name in ("trained", "grown")]
    return f"""
## {TITLES["pipeline"]}

Lists per CPU second, all threads, with a GRU of 64 numbers trained on DIGINETICA, lists of 20, index
`{details["index"]}`, clicks of real sessions that were not trained on
({details["events"]:,}, {details["live_sessions"]:,} sessions at a time), emit = every. Index recall is the share of the
exact ten best that the index finds for the session vectors of such sessions.

{table(["items", "lists/s per core", "index recall@10"], rows)}
The catalogues of 100,000 and a million items are drawn from the density of the 42,891 trained item vectors
(`tests/benchmarks/grown.py` has the formula). How like real ones they are shows when three quarters of the trained
items are left out and grown again:

{table(["", *(key.replace("_", " ") for key in keys)], alike)}
Cost against the length of sessions, with {min(row["items"] for row in part.figures):,} items; the states keep the
last 100 events and what the GRU carries:

{table(["clicks in each session", "CPU us per click"], lengths)}
{conditions(details)}"""


def encoders(part: Part) -> str:
    """Write the part on the encoders alone, at the largest batch that was measured."""
    batch = max(row["batch"] for row in part.figures)
    measured = [row for row in part.figures if row["batch"] == batch]
    lengths = list(measured[0]["us_by_length"])
    rows = [
        [row["kind"], row["dim"], row["window"], READ[row["read"]], *map("{:.1f}".format, row["us_by_length"].values())]
        for row in measured
    ]
    return f"""
## {TITLES["encoders"]}

CPU us per click for the session vector alone, no index and no list, by the events that the session has by then: random
weights, {batch} sessions at a time, one thread, median of {part.details["options"]["repeats"]}. `gru` and `lstm` carry
their state from click to click, and read again, from where it last began anew, only after a restart or for a new
bundle; the others read the window at each click. What lies before the window costs nothing.

{table(["encoder", "numbers", "window", "reads", *(f"{length} events" for length in lengths)], rows)}
{conditions(part.details)}"""


READ = {"full": "the window", "carried": "the last click"}


def retrieval(part: Part) -> str:
    """Write the part on retrieval, at the largest batch that was measured."""
    batch = max(row["batch"] for row in part.figures)
    rows = [[row["retrieval"], f"{row['us']:.1f}"] for row in part.figures if row["batch"] == batch]
    return f"""
## {TITLES["retrieval"]}

CPU us per click from the session vector to the best 20, by what finds them: {part.details["items"]:,} items of
DIGINETICA, a GRU's vectors of 64 numbers, the counters of the recipe `diginetica`, the 500 best of each side blended,
{batch} sessions at a time, one thread, median of {part.details["options"]["repeats"]}.

{table(["found by", "us per click"], rows)}
{conditions(part.details)}"""


def training(part: Part) -> str:
    """Write the part on training."""
    figures, options = part.figures, part.details["options"]
    large = figures["large"]
    keys = ("forward", "loss", "backward", "optimizer", "step")
    rows = [[row["tables"], *(row[key] for key in keys), f"{row['peak_mib'] / 1024:.1f}"] for row in figures["steps"]]
    return f"""
## {TITLES["training"]}

A catalogue of {large["items"]:,} items, {large["clicks"]:,} random clicks in which each of them occurs: one epoch of a
GRU of 64 numbers, the validation against all items, sequential rules and VSTAN with the fit of the blend, an HNSW index
and the bundle of {large["bundle_mb"]:,} MB take {large["seconds"] / 60:.0f} minutes,
{large["cpu_seconds"] / 60:.0f} of CPU, and {large["peak_gb"]:.1f} GB of memory at most (one run).

CPU ms of a step over that catalogue, 512 targets against 2,048 shared negatives, by how Adam steps through the tables
(`optimizer.tables`); medians of {options["repeats"]} processes, of {options["steps"]} steps each:

{table(["tables", *keys, "peak GB"], rows)}
The recipe `quick` takes {figures["quick"]["seconds"]:.0f} seconds from the demo's clicks to the bundle, median of
{options["repeats"]}.

{conditions(part.details)}"""


def evaluation(part: Part) -> str:
    """Write the part on evaluation."""
    rows = [
        [row["data"], f"{row['cases']:,}", f"{row['items']:,}", row["seconds"], row["cpu_seconds"], row["peak_gb"]]
        for row in part.figures
    ]
    return f"""
## {TITLES["evaluation"]}

`nextclick evaluate` from its start to the report: the lists that a worker would show before each click, made by a blend
of an encoder and counters; four baselines, each by its scores of the whole catalogue; all metrics with their bootstrap.
Medians of {part.details["options"]["repeats"]}.

{table(["data", "predictions", "items", "seconds", "CPU s", "peak GB"], rows)}
{conditions(part.details)}"""


def latency(part: Part) -> str:
    """Write the part on latency."""
    details = part.details
    names = ("p50_ms", "p90_ms", "p99_ms", "p999_ms")
    rows = [[f"{row['rate']:,.0f}", row["system"], *(f"{row[name]:.2f}" for name in names)] for row in part.figures]
    return f"""
## {TITLES["latency"]}

From the scheduled send time of a click to the moment at which a reader's `poll` returns its list: open loop, clicks of
real sessions in order, {details["items"]:,} items; generator, reader, worker and broker share the cores. `echo` is a
bare aiokafka consumer and librdkafka producer, linger 0, that reads a click and writes two records as large as a list
and a state; both take turns. Runs of {details["seconds"]:g} s, medians of {details["repeats"]}. The highest rate is
70 % of the {details["capacity_events_per_second"]:,} lists/s that reach the reader when clicks are sent faster than
they can be served, everything on the same cores; a backlog is drained at {details["drained_per_second"]:,} clicks/s.

{table(["clicks/s", "", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms"], rows)}
What the stages take by the worker's own clocks, mean milliseconds. Once for each batch: `decode`, `state`, `process`,
which holds `encode` and `search`, and `emit`, from the first byte of its lists to their last acknowledgement.
`changelog` comes after the lists and delays none: one write of states, for all batches whose lists have arrived by
then. Once for each click: `event_to_recommendation` and `event_age`. `batch_events` is no time, but the clicks in a
batch. Delivery reports are looked for every 5 ms, so what ends with them (`emit` and all behind it) seems up to so much
longer than it was: whoever reads the lists has them before the worker hears of it.

{stages(details["runs"])}
{conditions(details)}"""


def stages(runs: Sequence[dict[str, Any]]) -> str:
    """Return the table of stages, a column for each rate, the mean over the runs."""
    ours = [run for run in runs if run["system"] == "nextclick"]
    rates = sorted({run["rate"] for run in ours})

    def mean(series: str, rate: float) -> str:
        values = [run["stages"][series] for run in ours if run["rate"] == rate and series in run["stages"]]
        return f"{sum(values) / len(values):.3f}" if values else ""

    series = list(dict.fromkeys(name for run in ours for name in run["stages"]))
    rows = [[f"`{name}`", *(mean(name, rate) for rate in rates)] for name in series]
    return table(["", *(f"{rate:,.0f}/s" for rate in rates)], rows)


def recovery(part: Part) -> str:
    """Write the part on recovery."""
    keys = ("store", "sessions", "state_bytes", "seconds", "seconds_per_100k_sessions")
    rows = [[f"{row[key]:,}" if key != "store" else row[key] for key in keys] for row in part.figures]
    head = ["store", "sessions", "bytes of a state", "seconds", "seconds per 100,000"]
    return f"""
## {TITLES["recovery"]}

How long a worker that starts reads sessions before it serves; starts of each kind: {part.details["repeats"]}. The
changelog holds one state for each session, as after a compaction. `rocksdb` reads all of it when its disk is empty, and
only what is newer than the disk after a restart. Loading the bundle and joining the group are not in these seconds.

{table(head, rows)}
{conditions(part.details)}"""


def memory(part: Part) -> str:
    """Write the part on memory."""
    figures, details = part.figures, part.details
    samples = [sample for sample in details["samples"] if sample["events"] % max(1, figures["events"] // 10) == 0]
    rows = [[f"{s['events']:,}", s["rss_mb"], f"{s['sessions']:,.0f}", f"{s['expired']:,.0f}"] for s in samples]
    return f"""
## {TITLES["memory"]}

Resident memory of a worker, in one run, with {details["items"]:,} items over {figures["events"]:,} clicks,
{details["live_sessions"]:,} sessions clicking at a time. They end and expire all the while.
From {figures["from_events"]:,} clicks on it grew by {100 * figures["growth"]:.1f} %.

{table(["clicks", "RSS MB", "sessions in the table", "expired so far"], rows)}
{conditions(details)}"""


WRITERS = {
    "framework": framework,
    "pipeline": pipeline,
    "encoders": encoders,
    "retrieval": retrieval,
    "training": training,
    "evaluation": evaluation,
    "latency": latency,
    "recovery": recovery,
    "memory": memory,
}


if __name__ == "__main__":
    main()
