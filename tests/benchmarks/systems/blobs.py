"""What the bare loops, the echo and `quix_bytes` write: records as large as nextclick's, made with next to no work.

nextclick computes its lists and encodes its states; these take one of a thousand lists and states that were encoded
beforehand and put the click's own id, or a count, in front. So they are a floor, not a service. The values are in a
file, because not every system runs in an environment that could make them.
"""

import struct
from pathlib import Path
from typing import Self

import msgspec

from serving.events import decode_click

COUNT = struct.Struct("<Q")


class Blobs(msgspec.Struct):
    """Constant parts of lists, and of states."""

    lists: list[bytes]
    states: list[bytes]
    turn: int = 0

    @classmethod
    def read(cls, path: str) -> Self:
        """Read what `write` wrote."""
        return msgspec.msgpack.decode(Path(path).read_bytes(), type=cls)

    def write(self, path: Path) -> None:
        """Write the file that a system is given."""
        path.write_bytes(msgspec.msgpack.encode(self))

    def handle(self, value: bytes, state: bytes | None) -> tuple[bytes, bytes]:
        """Decode a click and return its session's new state and the list that answers it."""
        event_id = decode_click(value).event_id
        count = 0 if state is None else COUNT.unpack_from(state)[0]
        self.turn = turn = (self.turn + 1) % len(self.lists)
        answer = b'{"trigger_event_id":"%b",%b' % (event_id.encode(), self.lists[turn])
        return COUNT.pack(count + 1) + self.states[turn], answer
