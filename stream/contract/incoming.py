"""A record as the consumer gives it to everything in the stream."""

import msgspec

from stream.contract.codecs import Headers


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A record as Kafka gave it. `timestamp_ms` is the broker's, negative where there is none."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str = ""
