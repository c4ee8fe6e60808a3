"""Tables with named columns: SessionId/ItemId/Time with tabs, CSV, Parquet."""

from pathlib import Path

import polars as pl

from training.data.readers.columns import Columns, find_columns
from training.data.readers.exported import read_export, read_exported
from training.data.readers.rows import RawClicks
from training.data.readers.text import field, first_line, read_lines, separator_of, split_fields
from training.errors import DataError


def read_text_table(path: Path) -> RawClicks:
    """Read a table whose first line names the columns; a row with another number of fields is malformed."""
    separator = separator_of(first_line(path))
    rows = split_fields(read_lines(path), separator)
    names = [name.strip() for name in rows.get_column("fields")[0].to_list()]
    columns = find_columns(names, path)
    whole = pl.col("fields").list.len() == len(names)
    picked = _pick(columns, {name: field(position) for position, name in enumerate(names)})
    picked[0] = pl.when(whole).then(picked[0]).alias("session_id")
    return _raw(rows.slice(1).select("line", *picked), columns)


def read_parquet(path: Path) -> RawClicks:
    """Read a Parquet file; ids may be numbers or text, times numbers, text or timestamps.

    Of a file that `nextclick export` wrote, the order of the stream is kept. Columns that training has no use for (an
    item's attributes may be larger than everything else) are not read.
    """
    try:
        export = read_export(path)
        if export is not None:
            return RawClicks(read_exported(path), time_unit="ms", export=export)
        columns = find_columns(list(pl.read_parquet_schema(path)), path)
        table = pl.read_parquet(path, columns=list({name for name in _wanted(columns).values() if name is not None}))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}): expected a whole Parquet file") from error
    picked = _pick(columns, {name: pl.col(name) for name in table.columns})
    frame = table.with_row_index("line", offset=1).select("line", *picked)
    return _raw(
        frame.with_columns(_as_id(frame, name) for name in frame.columns if name not in ("line", "time")), columns
    )


def _pick(columns: Columns, by_name: dict[str, pl.Expr]) -> list[pl.Expr]:
    return [by_name[theirs].alias(ours) for ours, theirs in _wanted(columns).items() if theirs is not None]


def _wanted(columns: Columns) -> dict[str, str | None]:
    """Return the table's own names by ours."""
    wanted = ("session_id", "item_id", "time", "event_type", "user_id", "exact")
    return {name: getattr(columns, name) for name in wanted}


def _raw(frame: pl.DataFrame, columns: Columns) -> RawClicks:
    return RawClicks(frame, by_user=columns.by_user, time_unit=columns.time_unit, movies=columns.movies)


def _as_id(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Write an id column as text; pandas turns whole numbers with gaps into floats, and 7.0 is item 7."""
    column = pl.col(name)
    if frame.schema[name].is_float():
        column = column.cast(pl.Int64, strict=False)
    return column.cast(pl.String)
