"""What `--data PATH` means: one file of clicks, or a directory with the parts that somebody has split already.

Two doors, so that training is never handed the test clicks: `read_training` for recipes, `read_test` for evaluations.
Both need the same protocol and preparation; the fingerprint of the training clicks in a bundle's manifest shows whether
they were.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from serving.errors import WrongUse
from training.data.clean import Preparation, filter_clicks, sessionise
from training.data.cuts import HeldOut, whole, with_sessions, without_unknown
from training.data.log import ClickLog, make_log
from training.data.protocol import Conventions, Protocol, parse_protocol
from training.data.readers import ReadOptions, read_log
from training.data.splits import Training, split, split_validation
from training.errors import DataError

_ENDINGS = (".dat", ".txt", ".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson")
_BESIDE = ("movies.dat", "users.dat", "movies.csv", "links.csv", "tags.csv", "readme.txt")
_LONE_FILES = ("ratings.dat", "ratings.csv", "ml-1m.txt", "ml-1m.txt.gz")


@dataclass(frozen=True)
class Parts:
    """The files of a data set by what they are for; a log that nobody has split has `train` only."""

    train: list[Path]
    validation: list[Path]
    test: list[Path]


def find_parts(path: Path) -> Parts:
    """Find the files of a data set.

    In a directory, names with `test`, `valid` and `train` say what a file is for; where both `train_full` and other
    training files are there, these are its parts, and are taken instead of it. MovieLens directories have one log,
    periods (`week_00`, `week_01`, ...) are joined.

    Raises:
        WrongUse: there is no such path, or a directory whose files do not say which of them is the log.

    """
    if path.is_file():
        return Parts([path], [], [])
    if not path.is_dir():
        raise WrongUse(f"there is no file or directory {path}: name a click log")
    files = sorted(file for file in path.iterdir() if _may_be_log(file))
    lone = [file for file in files if file.name in _LONE_FILES]
    if lone:
        return Parts(lone[:1], [], [])
    test = [file for file in files if "test" in _words(file)]
    validation = [file for file in files if {"valid", "val", "validation"} & _words(file)]
    train = [file for file in files if "train" in _words(file) and file not in (*test, *validation)]
    if train:
        return Parts([file for file in train if "full" not in _words(file)] or train, validation, test)
    if len(files) == 1 or (files and all(re.match(r"week[-_]?\d+", file.name) for file in files)):
        return Parts(files, [], [])
    names = ", ".join(file.name for file in files) or "no click log"
    raise WrongUse(f"{path} has {names}: name one file, or call the parts train, valid and test")


def read_training(
    path: Path,
    protocol: Protocol,
    preparation: Preparation | None = None,
    options: ReadOptions | None = None,
    *,
    refit: bool = False,
) -> Training:
    """Read what training may see of a data set under a protocol, with a validation part split off by the same rule.

    The test clicks are dropped here (or, given as a file, never read) before any filter counts an item. With `refit`,
    the validation part is learned from too and there is none: for a last training of what has been chosen already.

    Raises:
        DataError: the data cannot be read, or protocol and preparation leave nothing to learn from.
        WrongUse: the protocol is several trainings, see `Protocol.cycles`.

    """
    preparation = preparation or Preparation()
    parts = find_parts(path)
    validation_files = parts.validation if _given(protocol) else []
    more = validation_files if refit else []
    if _given(protocol) and parts.test:
        log, begin_ms = _read([*parts.train, *more], path, preparation, options), None
    else:
        # The test is a part of the training files alone (`read_test`): what is learned besides must not move its cut.
        # So the two are cut one by one, and a session that goes on in the validation file begins anew there.
        outer = split(_read(parts.train, path, preparation, options), protocol)
        log, begin_ms = outer.before, outer.begin_ms
        if more:
            log = _cut([log, *(read_log(file, options) for file in more)], path, preparation)
    if refit:
        return Training(_learned(log, preparation), whole(log.with_frame(log.frame.clear())), refit=True)
    if validation_files:
        clicks, validation = log, whole(_read(validation_files, path, preparation, options))
    else:
        inner = split_validation(log, protocol, begin_ms)
        clicks, validation = inner.before, inner.held_out
    clicks = _learned(clicks, preparation)
    return Training(clicks, counted(validation, protocol.conventions, clicks.frame.get_column("item_id").unique()))


def counted(held_out: HeldOut, conventions: Conventions, known: pl.Series) -> HeldOut:
    """Return what a protocol counts of held-out clicks: without unknown items and short sessions where it says so."""
    if conventions.unknown == "drop":
        held_out = without_unknown(held_out, known)
    return with_sessions(held_out, conventions.min_session_length)


def read_test(
    path: Path, protocol: Protocol, preparation: Preparation | None = None, options: ReadOptions | None = None
) -> HeldOut:
    """Read the held-out clicks of a data set, cut at the same gaps, not filtered; for evaluations and replays only."""
    preparation = preparation or Preparation()
    parts = find_parts(path)
    if _given(protocol) and parts.test:
        return whole(_read(parts.test, path, preparation, options))
    return split(_read(parts.train, path, preparation, options), protocol).held_out


def describe(training: Training, protocol: Protocol, preparation: Preparation) -> dict[str, Any]:
    """Return what a manifest says about its data, enough for an evaluation to hold out the same clicks again."""
    return {
        **training.clicks.summary(),
        "protocol": str(protocol),
        "preparation": asdict(preparation),
        "refit": training.refit,
        "validation_fingerprint": training.validation_fingerprint,
    }


def read_description(data: Mapping[str, Any]) -> tuple[Protocol, Preparation]:
    """Return the protocol and the preparation that a manifest's `data` describes, or the defaults."""
    return parse_protocol(data.get("protocol", "next-item")), Preparation(**data.get("preparation", {}))


def read_described(
    data: Mapping[str, Any], path: Path, protocol: Protocol, options: ReadOptions | None = None
) -> Training:
    """Read the training part of a data set as a manifest's `data` describes it: same preparation, refitted or not."""
    preparation = read_description(data)[1]
    return read_training(path, protocol, preparation, options, refit=bool(data.get("refit", False)))


def join(logs: Sequence[ClickLog], name: str) -> ClickLog:
    """Join logs into one, sorted stably by time; the titles are the first log's that has any.

    Where one of them has the order of the stream within its sessions, all of them keep their order.
    """
    titles = next((log.titles for log in logs if log.titles), None)
    return make_log(
        pl.concat([log.frame for log in logs]),
        titles=titles,
        name=name,
        timed=all(log.timed for log in logs),
        by_user=any(log.by_user for log in logs),
        bad_rows=sum(log.bad_rows for log in logs),
        log_order=any(log.log_order for log in logs),
        exports=[export for log in logs for export in log.exports],
        inexact=frozenset().union(*(log.inexact for log in logs)),
    )


def _given(protocol: Protocol) -> bool:
    """Tell whether a protocol takes the parts that a directory has already."""
    return protocol.name == "next-item" and protocol.value is None


def _learned(log: ClickLog, preparation: Preparation) -> ClickLog:
    """Return training clicks filtered, of which at least one must be left."""
    clicks = filter_clicks(log, preparation)
    if len(clicks) == 0:
        asked = ", ".join(f"{name}={value}" for name, value in preparation.filters().items()) or "no filter"
        raise DataError(
            f"{log.name}: none of the {len(log)} training clicks is left by the preparation ({asked}): ask for less, "
            "or take more data"
        )
    return clicks


def _read(files: Sequence[Path], path: Path, preparation: Preparation, options: ReadOptions | None) -> ClickLog:
    return _cut([read_log(file, options) for file in files], path, preparation)


def _cut(logs: Sequence[ClickLog], path: Path, preparation: Preparation) -> ClickLog:
    """Return logs as one, its sessions cut at gaps."""
    log = logs[0] if len(logs) == 1 else join(logs, path.name)
    return sessionise(log, preparation.gap_ms(log))


def _may_be_log(file: Path) -> bool:
    name = file.name.lower().removesuffix(".gz")
    beside = name in _BESIDE or name.endswith(".titles.csv")
    return file.is_file() and name.endswith(_ENDINGS) and not beside


def _words(file: Path) -> set[str]:
    return set(re.split(r"[^a-z]+", file.name.lower()))
