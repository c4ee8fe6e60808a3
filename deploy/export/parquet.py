"""Rows to a Parquet file as they come, a row group at a time; the file takes its name when it is whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from serving.errors import NextclickError, WrongUse

# A group is written when it has so many rows or so many characters of JSON: that much is in memory, whatever the topic.
GROUP_ROWS = 131_072
GROUP_CHARACTERS = 64 * 2**20

ENDINGS = (".parquet", ".pq")


class Row(NamedTuple):
    """One click: where it stood in the topic, what it says, what was known of its item then (JSON, or null)."""

    partition: int
    offset: int
    broker_timestamp_ms: int | None
    event_id: str
    session_id: str
    item_id: str
    timestamp_ms: int
    event_type: str
    user_id: str | None
    context: str | None
    item_attributes: str | None


SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("broker_timestamp_ms", pa.int64()),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp_ms", pa.int64(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("context", pa.string()),
        pa.field("item_attributes", pa.string()),
    ]
)


class RowWriter:
    """Collects rows and writes them in groups; `written_whole` makes one, on an unfinished file."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._waiting: list[Row] = []
        self._characters = 0

    def add(self, row: Row) -> None:
        """Take the next row; `NextclickError` when a group is due and the operating system does not take it."""
        self._waiting.append(row)
        self._characters += len(row.context or "") + len(row.item_attributes or "")
        self.rows += 1
        if len(self._waiting) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            with self._refused():
                self._flush()

    def describe(self, key: str, value: bytes) -> None:
        """Set an entry of the file's key-value metadata."""
        self._writer.add_key_value_metadata({key: value})

    def finish(self) -> None:
        """Write what waits and end the file, all of it on the disk; `NextclickError` when that is refused."""
        with self._refused():
            self._flush()
            self._writer.close()
            _sync(self._path)

    def give_up(self) -> None:
        """Let go of the file, whatever is in it."""
        # Closing writes what there is, which may fail as the writing did.
        with contextlib.suppress(OSError):
            self._writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = zip(*self._waiting, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
        self._waiting, self._characters = [], 0

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise NextclickError(
                f"{self._path.parent} does not take the export ({reason}) after {self.rows} clicks; nothing of it is "
                "left there. Make room, or name a file elsewhere, and export again"
            ) from error


def check_free(path: Path) -> None:
    """Refuse a file that is there already, or that readers would not take for Parquet.

    Raises:
        WrongUse: either of them.

    """
    if path.suffix not in ENDINGS:
        raise WrongUse(f"{path} ends in {path.suffix or 'nothing'!r}, but an export is Parquet: end it in .parquet")
    if path.exists():
        raise WrongUse(f"{path} exists already; exports are never overwritten: name another file")
    if not path.parent.is_dir():
        raise WrongUse(f"there is no directory {path.parent} to write {path.name} to: make it first, or name another")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[RowWriter]:
    """Give a writer of a file beside `path`, which takes that name at the end; after an error nothing is left of it.

    Raises:
        WrongUse: `path` is not free (`check_free`), or the operating system does not let us write there.
        NextclickError: the operating system refused while rows were being written: the disk is full, for example.

    """
    check_free(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        rows = RowWriter(unfinished)
    except OSError as error:
        raise WrongUse(f"{path} cannot be written ({os.strerror(error.errno or 0)}): name another file") from error
    try:
        yield rows
        rows.finish()
        check_free(path)
        unfinished.rename(path)
        _sync(path.parent)
    finally:
        rows.give_up()
        unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
