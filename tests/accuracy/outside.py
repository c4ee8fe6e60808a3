"""Ranks that another system gives the same cases: each runs in an environment of its own, as a program.

`make` installs them (`build/accuracy/systems/NAME`), and a rank is what the program writes down for a user: its own
lists, in its own order.
"""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl

from serving.errors import WrongUse
from tests.accuracy.rows import Outside
from tests.benchmarks.results import ROOT, say
from training.evaluation.case_ranks import CaseRanks

PROGRAMS = Path(__file__).parent / "systems"
SYSTEMS = ROOT / "build" / "accuracy" / "systems"
# glibc gives blocks of this size back at once: a third of RecTools' time would be page faults.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**34)}


def train_outside(rival: Outside, data: Path) -> dict[str, Any]:
    """Train a system on the data and return what it tells of itself.

    One training serves all rows on the same data: it stays in `build/accuracy/systems` for as long as data, program and
    locked versions are the same.

    Raises:
        WrongUse: the system is not installed, or has failed.

    """
    python, out = SYSTEMS / rival.name / "bin" / "python", _out(rival, data)
    told, log, program = out.with_suffix(".json"), out.with_suffix(".log"), PROGRAMS / f"{rival.name}.py"
    lock = ROOT / "requirements" / f"{rival.name.partition('_')[0]}.txt"
    sha256 = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (data, program, lock)}
    if not told.exists() or json.loads(told.read_text())["sha256"] != sha256:
        if not python.exists():
            raise WrongUse(f"{rival.name} is not installed in {python.parents[1]}: start the row by `make accuracy`")
        began = time.monotonic()
        say(f"  {rival.name}: see {log}")
        with log.open("w") as file:
            command = [str(python), str(program), str(data), str(out), "--seed", str(rival.seed)]
            environment = {**os.environ, **_KEEP_MEMORY}
            done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise WrongUse(f"{rival.name} ended with status {done.returncode}: see {log}")
        last = json.loads(log.read_text().splitlines()[-1])
        minutes = round((time.monotonic() - began) / 60, 1)
        told.write_text(json.dumps({"minutes": minutes, "seed": rival.seed, **last, "sha256": sha256}) + "\n")
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def ranks_outside(rival: Outside, data: Path, cases: CaseRanks) -> CaseRanks:
    """Return the ranks that a trained system gives the cases."""
    return joined(cases, pl.read_csv(_out(rival, data)))


def _out(rival: Outside, data: Path) -> Path:
    return SYSTEMS / f"{rival.name}-{data.name}-seed-{rival.seed}.csv"


def joined(cases: CaseRanks, ranks: pl.DataFrame) -> CaseRanks:
    """Return the cases with the ranks of a system (`user_id`, `item_id`, `rank`), one for each user.

    Raises:
        WrongUse: a case is not among them, or more than once.

    """
    keys = ["session_id", "item_id"]
    theirs = ranks.select(
        pl.col("user_id").cast(pl.String).alias("session_id"), pl.col("item_id").cast(pl.String), pl.col("rank")
    )
    found = cases.frame.drop("rank").join(theirs, on=keys, how="left", maintain_order="left")
    if len(found) != len(cases) or found.get_column("rank").null_count():
        missing = found.filter(pl.col("rank").is_null())
        raise WrongUse(f"{len(missing)} of {len(cases)} cases have no rank of theirs, the first {missing.head(1)}")
    return CaseRanks(found.select(*cases.frame.columns))
