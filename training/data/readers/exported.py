"""What `nextclick export` writes: the clicks of a topic as Parquet, with what it says of itself in the file's metadata.

The names are here, because both sides need them: the command writes the file, the recipes read it.
"""

from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from training.data.log import name_parts
from training.errors import DataError

METADATA_KEY = "nextclick.export"
EXPORT_FORMAT = 1

# Of the columns, those that training reads; the others are for people and for models to come from elsewhere.
_READ = ("partition", "session_id", "item_id", "timestamp_ms", "event_type", "user_id")


def read_export(path: Path) -> dict[str, Any] | None:
    """Return what an exported file says of its topic: topic, cluster, offsets; None for any other Parquet file.

    Raises:
        DataError: it was exported by a newer version.

    """
    metadata = pl.read_parquet_metadata(path).get(METADATA_KEY)
    if metadata is None:
        return None
    export: dict[str, Any] = msgspec.json.decode(metadata)
    found = export.pop("format", None)
    if found != EXPORT_FORMAT:
        raise DataError(
            f"{path} is an export of format {found}, this version reads format {EXPORT_FORMAT}: read it with the "
            "version that wrote it, or export again"
        )
    return export


def read_exported(path: Path) -> pl.DataFrame:
    """Return an exported file's clicks as a reader's raw rows, in the order of the file.

    A session is a session of one partition. One that a foreign partitioner has put into two is two for the stream, so
    it is here too: the second is called `a@2`.
    """
    frame = pl.read_parquet(path, columns=list(_READ))
    part = frame.select(pl.col("partition").rank("dense").over("session_id")).to_series()
    if (part > 1).any():
        frame = name_parts(frame, part, "@")
    return frame.rename({"timestamp_ms": "time"}).drop("partition").with_row_index("line", offset=1)
