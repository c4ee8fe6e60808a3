"""Click logs to files, in layouts that `readers` reads back to the same clicks."""

import csv
from pathlib import Path

from serving.errors import WrongUse
from serving.events import encode_click
from training.data.log import ClickLog
from training.data.readers.titles import titles_file

FORMATS = (".jsonl", ".csv", ".parquet")


def write_log(log: ClickLog, path: Path) -> list[Path]:
    """Write the clicks, as JSON lines of events, CSV or Parquet by the file's ending, and the titles beside them.

    Returns:
        The files written.

    Raises:
        WrongUse: the ending is none of these, or the directory is not there.

    """
    if path.suffix not in FORMATS:
        raise WrongUse(f"{path} ends in {path.suffix or 'nothing'!r}: end it in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise WrongUse(f"there is no directory {path.parent} to write {path.name} to: make it first")
    if path.suffix == ".jsonl":
        with path.open("wb") as file:
            file.writelines(encode_click(click) + b"\n" for click in log.clicks())
    elif path.suffix == ".csv":
        log.frame.write_csv(path)
    else:
        log.frame.write_parquet(path)
    return [path, *_write_titles(log, titles_file(path))]


def _write_titles(log: ClickLog, path: Path) -> list[Path]:
    if not log.titles:
        return []
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("item_id", "title"))
        rows.writerows(log.titles.items())
    return [path]
