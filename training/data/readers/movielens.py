"""MovieLens `ratings.dat`: `user::movie::rating::seconds`, one session per user.

Harper and Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015, https://doi.org/10.1145/2827872.
"""

from pathlib import Path

import polars as pl

from training.data.readers.rows import RawClicks
from training.data.readers.text import field, read_lines, split_fields

SEPARATOR = "::"


def read_ratings(path: Path) -> RawClicks:
    """Read a `ratings.dat`. Every rating counts as a click, whatever its value."""
    rows = split_fields(read_lines(path), SEPARATOR)
    whole = pl.col("fields").list.len() == 4
    frame = rows.select(
        "line",
        pl.when(whole).then(field(0)).alias("session_id"),
        field(1).alias("item_id"),
        field(3).alias("time"),
        field(0).alias("user_id"),
    )
    return RawClicks(frame, by_user=True, time_unit="s", movies=True)
