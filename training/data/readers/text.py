"""Lines of a plain or gzipped text file, and their fields."""

import csv
import gzip
from pathlib import Path

import polars as pl

from training.errors import DataError

_GZIP = b"\x1f\x8b"


def read_lines(path: Path) -> pl.DataFrame:
    """Return the file's lines that are not empty: `line` (number from 1) and `text`; latin-1 and UTF-8 both pass.

    Ids and times are ASCII in every layout; a title in another encoding would lose letters here, see `titles`.
    """
    try:
        # One column with a separator that no text has: polars unpacks gzip and splits a million lines in 0.15 s.
        lines = pl.read_csv(
            path, has_header=False, separator="\x01", quote_char=None, schema={"text": pl.String},
            encoding="utf8-lossy", truncate_ragged_lines=True,
        )  # fmt: skip
    except (pl.exceptions.ComputeError, OSError) as error:
        raise DataError(f"{path} cannot be read as text ({error}): expected a plain or gzipped text file") from error
    return lines.with_row_index("line", offset=1).filter(pl.col("text").str.strip_chars() != "")


def first_line(path: Path) -> str:
    """Return the first line that is not empty, without its line end; empty for an empty file."""
    with path.open("rb") as probe:
        packed = probe.read(2) == _GZIP
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return next((line.decode("latin-1").strip("\r\n") for line in file if line.strip()), "")
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}): expected a whole plain or gzipped file") from error


def separator_of(header: str) -> str:
    """Return the separator of a header line: the most frequent of tab, comma, semicolon; else a space."""
    best = max("\t,;", key=header.count)
    return best if best in header else " "


def split_fields(lines: pl.DataFrame, separator: str) -> pl.DataFrame:
    """Return `line` and `fields` (a list of strings) of each row; quotes are honoured where the file has any."""
    if lines.get_column("text").str.contains('"', literal=True).any():
        return _split_quoted(lines, separator)
    return lines.select("line", pl.col("text").str.split(separator).alias("fields"))


def field(position: int) -> pl.Expr:
    """Return the field at a position, without blanks around it; null where the row is too short."""
    return pl.col("fields").list.get(position, null_on_oob=True).str.strip_chars()


def _split_quoted(lines: pl.DataFrame, separator: str) -> pl.DataFrame:
    numbers = lines.get_column("line").to_list()
    reader = csv.reader((text + "\n" for text in lines.get_column("text").to_list()), delimiter=separator)
    begins, rows, read = [], [], 0
    for fields in reader:
        # A quoted field may hold line ends: the row is named by the line on which it begins.
        begins.append(numbers[read])
        rows.append(fields)
        read = reader.line_num
    return pl.DataFrame({"line": begins, "fields": rows}, schema={"line": pl.UInt32, "fields": pl.List(pl.String)})
