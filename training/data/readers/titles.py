"""Item titles that lie beside a click log."""

import csv
import io
from pathlib import Path

from training.errors import DataError

_MOVIES_DAT = "movies.dat"
_MOVIES_CSV = "movies.csv"


def titles_file(log: Path) -> Path:
    """Return where a log's own titles lie: `shop.jsonl` has `shop.titles.csv`, with the columns item_id and title."""
    return log.with_name(f"{stem(log)}.titles.csv")


def stem(path: Path) -> str:
    """Return a file's name without `.gz` and without its ending."""
    return Path(path.name.removesuffix(".gz")).stem


def find_titles(log: Path, *, movies: bool) -> dict[str, str] | None:
    """Return the titles by item id, or None where no file beside the log has any.

    `movies` says that the log's item ids are MovieLens's own; those of `ml-1m.txt` are not.

    Raises:
        DataError: the file is not UTF-8 (`movies.dat`: latin-1), or no table.

    """
    own = titles_file(log)
    if own.is_file():
        return _read_csv(own)
    if movies and (log.parent / _MOVIES_DAT).is_file():
        return _read_dat(log.parent / _MOVIES_DAT)
    if movies and (log.parent / _MOVIES_CSV).is_file():
        return _read_csv(log.parent / _MOVIES_CSV)
    return None


def _read_dat(path: Path) -> dict[str, str]:
    # MovieLens up to 10M is in latin-1.
    rows = (line.split("::") for line in path.read_text("latin-1").splitlines())
    return {row[0]: row[1] for row in rows if len(row) >= 2}


def _read_csv(path: Path) -> dict[str, str]:
    rows = csv.reader(io.StringIO(_text(path), newline=""))
    try:
        next(rows, None)
        return {row[0]: row[1] for row in rows if len(row) >= 2}
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}; expected a table of item_id and title") from error


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = raw.splitlines()[line - 1][:60]
        raise DataError(f"{path}, line {line}: {found!r} is not UTF-8; write the titles in UTF-8") from error
