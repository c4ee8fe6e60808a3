"""Click logs from the layouts in which public data sets and our own commands write them.

The layout is recognised from the file's ending and its first line: nobody has to name it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serving.errors import WrongUse
from training.data.log import ClickLog
from training.data.readers.columns import EXPECTED, is_header
from training.data.readers.jsonl import read_jsonl
from training.data.readers.movielens import SEPARATOR, read_ratings
from training.data.readers.pairs import is_pairs, read_pairs
from training.data.readers.rows import RawClicks, ReadOptions, to_log
from training.data.readers.tables import read_parquet, read_text_table
from training.data.readers.text import first_line, separator_of
from training.data.readers.times import UNITS
from training.data.readers.titles import find_titles, stem
from training.errors import DataError

__all__ = ["ReadOptions", "read_log", "recognise"]

_PARQUET = (".parquet", ".pq")
_JSONL = (".jsonl", ".ndjson", ".json")


def read_log(path: Path, options: ReadOptions | None = None) -> ClickLog:
    """Read one file of clicks, sorted stably by time, with titles where a file beside it has them.

    Raises:
        WrongUse: there is no such file, or the time unit is none.
        DataError: the layout is not recognised, or too many rows are no clicks.

    """
    options = options or ReadOptions()
    if options.time_unit not in UNITS:
        raise WrongUse(f"there is no time unit {options.time_unit!r}: name one of {', '.join(UNITS)}")
    if not path.is_file():
        raise WrongUse(f"there is no file {path}: name a file of clicks")
    raw = recognise(path)(path)
    log = to_log(raw, path, stem(path), options)
    return replace(log, titles=find_titles(path, movies=raw.movies))


def recognise(path: Path) -> Callable[[Path], RawClicks]:
    """Return the reader that fits a file.

    Raises:
        DataError: none does; the message shows the first line and what is expected.

    """
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending in _PARQUET:
        return read_parquet
    line = first_line(path)
    if ending in _JSONL or line.startswith("{"):
        return read_jsonl
    if SEPARATOR in line:
        return read_ratings
    if is_pairs(line):
        return read_pairs
    fields = line.split(separator_of(line))
    if is_header(fields):
        return read_text_table
    raise DataError(
        f"{path} is no click log that can be recognised: its first line is {line[:120]!r}; expected MovieLens "
        f"ratings (user::movie::rating::time), pairs (session item), JSON lines, Parquet, or a table: {EXPECTED}"
    )
