"""Files that a command writes for its user: checked before the work, written after it."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from serving.errors import WrongUse


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written; nothing is left behind, and an existing file stays as it is.

    Raises:
        WrongUse: its folder is not there, it is a folder itself, or the operating system refuses.

    """
    try:
        if path.is_dir():
            raise WrongUse(f"{path} is a directory: name a file")
        if not path.parent.is_dir():
            raise WrongUse(
                f"there is no directory {path.parent} to write {path.name} to: make it first, or name another"
            )
        if not path.exists():
            # Permissions do not tell what the operating system will do, above all to root.
            path.touch()
            path.unlink()
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise WrongUse(_refused(path, error)) from error


def write_json(content: Any, path: Path) -> None:
    """Write JSON for people and programs: indented, UTF-8, with a line end.

    Raises:
        WrongUse: the operating system refuses.

    """
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise WrongUse(_refused(path, error)) from error


def _refused(path: Path, error: OSError) -> str:
    return f"{path} cannot be written ({error.strerror}): name another file"
