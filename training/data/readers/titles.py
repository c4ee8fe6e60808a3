"""Item titles that lie beside a click log."""

import csv
from pathlib import Path

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
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        return {row[0]: row[1] for row in rows if len(row) >= 2}
