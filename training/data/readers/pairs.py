"""Files of `session item` (or `user item`) in the order of the clicks, without times: `ml-1m.txt`, ADER's weeks.

A click's time is then its place in the file, one millisecond each, which keeps the order and, for up to 1.8 million
rows, never opens a gap of half an hour. A file that stands for a week (`week_07.txt`) puts its rows at that week's end,
so that the last seven days of all weeks are exactly the last file.
"""

import re
from pathlib import Path

import polars as pl

from training.data.readers.rows import RawClicks
from training.data.readers.text import field, read_lines, split_fields

WEEK_MS = 7 * 24 * 3600 * 1000

_WEEK = re.compile(r"week[-_]?(\d+)", re.IGNORECASE)


def read_pairs(path: Path) -> RawClicks:
    """Read a file of pairs; a row of more or fewer than two fields is malformed."""
    lines = read_lines(path)
    lines = lines.with_columns(pl.col("text").str.strip_chars().str.replace_all(r"\s+", " "))
    rows = split_fields(lines, " ").with_row_index("row")
    whole = pl.col("fields").list.len() == 2
    first_ms = _first_ms(path, rows.height)
    frame = rows.select(
        "line",
        pl.when(whole).then(field(0)).alias("session_id"),
        field(1).alias("item_id"),
        (pl.col("row").cast(pl.Int64) + first_ms).alias("time"),
    )
    return RawClicks(frame, timed=False)


def is_pairs(line: str) -> bool:
    """Tell whether a file's first line is a pair: two whole numbers with blanks between them."""
    return re.fullmatch(r"\s*\d+\s+\d+\s*", line) is not None


def _first_ms(path: Path, rows: int) -> int:
    week = _WEEK.match(path.name)
    return 0 if week is None else (int(week[1]) + 1) * WEEK_MS - rows
