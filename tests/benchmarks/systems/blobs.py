"""What the bare loops, the echo and `quix_bytes` write: records as large as nextclick's, made with next to no work.

nextclick computes its lists and encodes its states; these take one of a thousand lists and states that were encoded
beforehand and put the click's own id, or a count, in front. So they are a floor, not a service. The values are in a
file, because not every system runs in an environment that could make them.
"""

import struct

from serving.events import decode_click
from tests.benchmarks.systems.work import Work

COUNT = struct.Struct("<Q")


class Blobs(Work):
    """Constant parts of lists, and of states."""

    lists: list[bytes]
    states: list[bytes]
    turn: int = 0

    def handle(self, value: bytes, stored: bytes | None) -> tuple[bytes, bytes]:
        event_id = decode_click(value).event_id
        count = 0 if stored is None else COUNT.unpack_from(stored)[0]
        self.turn = turn = (self.turn + 1) % len(self.lists)
        answer = b'{"trigger_event_id":"%b",%b' % (event_id.encode(), self.lists[turn])
        return COUNT.pack(count + 1) + self.states[turn], answer
