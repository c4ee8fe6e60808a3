"""Writing to Kafka: a record is written when its own delivery report says so, without an error, and not before."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import faust
from faust.exceptions import ProducerSendError

from stream.contract.dead_letter import TRUNCATED_FROM, Cause, HeaderList, dead_letter_headers
from stream.errors import PublishError
from stream.pipeline.compute import Dead

# Kafka's own limit is 1,048,588 bytes for a batch unless somebody has raised it. A broker that refuses a record
# breaks the numbering of the idempotent producer, so what is too large must not be sent.
LARGEST_DEAD_LETTER = 1_000_000


class Outgoing(NamedTuple):
    """A record to be written. Without a partition the key decides, as in Java's clients."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: HeaderList | None = None


async def publish(app: faust.App, records: Sequence[Outgoing]) -> None:
    """Write the records, and return when Kafka has acknowledged every one of them.

    Raises:
        PublishError: a record was refused. What became of the others is not known; the events must be read again.

    """
    try:
        reports = [
            await app.producer.send(record.topic, record.key, record.value, record.partition, None, record.headers)
            for record in records
        ]
    except ProducerSendError as error:
        raise PublishError(f"a record cannot be written ({error}); what it answers will be read again") from error
    results = await asyncio.gather(*reports, return_exceptions=True)
    for record, result in zip(records, results, strict=True):
        if isinstance(result, BaseException):
            raise PublishError(
                f"topic {record.topic} did not take a record of {len(record.value or b'')} bytes ({result!r}); "
                "what it answers will be read again. `nextclick topics check` looks for the cause"
            ) from result


def dead_letter(dead: Dead, source: str, topic: str) -> Outgoing:
    """Return the dead letter: the record as it was received, unless it is too large to be written at all."""
    record = dead.record
    cause = Cause(dead.reason, dead.error, source, record.partition, record.offset)
    letter = Outgoing(topic, record.key, record.value, None, dead_letter_headers(record.headers, cause))
    if _size(letter) <= LARGEST_DEAD_LETTER:
        return letter
    mark = (TRUNCATED_FROM, str(len(record.value or b"")).encode())
    letter = letter._replace(headers=[*(letter.headers or []), mark])
    if _size(letter._replace(value=None)) > LARGEST_DEAD_LETTER // 2:
        letter = letter._replace(headers=[*dead_letter_headers([], cause), mark])
    key = letter.key and letter.key[: LARGEST_DEAD_LETTER // 2]
    room = LARGEST_DEAD_LETTER - _size(letter._replace(key=key, value=None))
    return letter._replace(key=key, value=letter.value and letter.value[:room])


def _size(record: Outgoing) -> int:
    # 16 bytes for the lengths around each part are more than Kafka needs.
    headers = sum(len(name.encode()) + len(text) + 16 for name, text in record.headers or [])
    return len(record.key or b"") + len(record.value or b"") + headers + 100
