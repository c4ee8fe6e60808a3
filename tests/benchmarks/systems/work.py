"""What a system does with a click, in a file: not every system runs in an environment that could make it."""

from pathlib import Path
from typing import Self

import msgspec


class Work(msgspec.Struct):
    """Turns clicks into states and lists."""

    @classmethod
    def read(cls, path: str) -> Self:
        """Read what `write` wrote."""
        return msgspec.json.decode(Path(path).read_bytes(), type=cls)

    def write(self, path: Path) -> None:
        """Write the file that a system is given."""
        path.write_bytes(msgspec.json.encode(self))

    def handle(self, value: bytes, stored: bytes | None) -> tuple[bytes, bytes]:
        """Decode a click and return its session's new state and the list that answers it."""
        raise NotImplementedError
