"""A dead letter: the record as it was received, key, value and headers, and in headers of ours why it is one."""

from collections.abc import Iterable
from typing import NamedTuple

PREFIX = "nextclick-"
REASON = "nextclick-reason"
ERROR = "nextclick-error"
TOPIC = "nextclick-topic"
PARTITION = "nextclick-partition"
OFFSET = "nextclick-offset"
# Only where the whole value would not fit into a dead letter: how many bytes it had.
TRUNCATED_FROM = "nextclick-truncated-from"

# An error quotes from its event; a header is no place for more than a few sentences.
MAX_ERROR_BYTES = 2_000

HeaderList = list[tuple[str, bytes]]


class Cause(NamedTuple):
    """Why a record became a dead letter, and where it had been."""

    reason: str
    error: str
    topic: str
    partition: int
    offset: int


def dead_letter_headers(received: Iterable[tuple[str, bytes | None]], cause: Cause) -> HeaderList:
    """Return the headers of the dead letter: the received ones, then ours.

    Ours of an earlier life (the record was a dead letter before, and was put back) are replaced.
    """
    error = cause.error.encode(errors="backslashreplace")[:MAX_ERROR_BYTES].decode(errors="ignore").encode()
    ours = {
        REASON: cause.reason.encode(),
        ERROR: error,
        TOPIC: cause.topic.encode(),
        PARTITION: str(cause.partition).encode(),
        OFFSET: str(cause.offset).encode(),
    }
    return [*received_headers(received), *ours.items()]


def received_headers(headers: Iterable[tuple[str, bytes | None]]) -> HeaderList:
    """Return the headers that the record had before it became a dead letter; those without a value are left out."""
    return [(name, value) for name, value in headers if value is not None and not name.startswith(PREFIX)]


def read_cause(headers: Iterable[tuple[str, bytes | None]]) -> Cause | None:
    """Return why this record is a dead letter, None where its headers do not say."""
    found = {name: value.decode(errors="replace") for name, value in headers if value is not None}
    try:
        return Cause(found[REASON], found[ERROR], found[TOPIC], int(found[PARTITION]), int(found[OFFSET]))
    except (KeyError, ValueError):
        return None
