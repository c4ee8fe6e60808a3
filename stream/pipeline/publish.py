"""What becomes of a batch in Kafka: its lists, its dead letters, its states."""

from collections.abc import Iterator

from msgspec.structs import replace

from stream.contract import reasons
from stream.contract.dead_letter import TRUNCATED_FROM, Cause, dead_letter_headers
from stream.contract.incoming import Incoming
from stream.errors import PublishError
from stream.pipeline.compute import Dead, Outcome
from stream.settings import TopicSettings
from stream.transport.producer import Outgoing, Receipt

# Kafka's own limit is 1,048,588 bytes for a batch unless somebody has raised it. A broker that refuses a record
# breaks the numbering of the idempotent producer, so what is too large must not be sent.
LARGEST_DEAD_LETTER = 1_000_000


def answers(outcome: Outcome, topics: TopicSettings) -> Iterator[Outgoing]:
    """Give the lists and dead letters of a batch."""
    for record, served in outcome.answers:
        yield Outgoing(topics.recommendations, record.key, served.value)
    for dead in outcome.dead:
        yield dead_letter(dead, topics.clicks, topics.dead_letters)


def condemned(record: Incoming) -> Outcome:
    """Return what becomes of an event that ends every process that computes it: a dead letter, and nothing else."""
    return Outcome(dead=[Dead(record, reasons.KILLS_WORKER, reasons.REASONS[reasons.KILLS_WORKER])])


def check(receipt: Receipt) -> None:
    """See that all records were taken.

    Raises:
        PublishError: one was refused. What became of the others is not known; the events must be read again.

    """
    if receipt.refused is not None:
        raise PublishError(
            f"{receipt.refused}; what it answers will be read again. `nextclick topics check` looks for the cause"
        )


def dead_letter(dead: Dead, source: str, topic: str) -> Outgoing:
    """Return the dead letter: the record as it was received, unless it is too large to be written at all."""
    record = dead.record
    cause = Cause(dead.reason, dead.error, source, record.partition, record.offset)
    letter = Outgoing(topic, record.key, record.value, headers=dead_letter_headers(record.headers, cause))
    if _size(letter) <= LARGEST_DEAD_LETTER:
        return letter
    mark = (TRUNCATED_FROM, str(len(record.value or b"")).encode())
    letter = replace(letter, headers=[*(letter.headers or []), mark])
    if _size(replace(letter, value=None)) > LARGEST_DEAD_LETTER // 2:
        letter = replace(letter, headers=[*dead_letter_headers([], cause), mark])
    key = letter.key and letter.key[: LARGEST_DEAD_LETTER // 2]
    room = LARGEST_DEAD_LETTER - _size(replace(letter, key=key, value=None))
    return replace(letter, key=key, value=letter.value and letter.value[:room])


def _size(record: Outgoing) -> int:
    # 16 bytes for the lengths around each part are more than Kafka needs.
    headers = sum(len(name.encode()) + len(text or b"") + 16 for name, text in record.headers or [])
    return len(record.key or b"") + len(record.value or b"") + headers + 100
