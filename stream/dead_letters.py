"""Reading dead letters, and putting them back where they came from."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from serving.errors import WrongUse
from stream.clients import producer_client, topic_reader
from stream.contract.dead_letter import TRUNCATED_FROM, Cause, read_cause, received_headers
from stream.contract.reasons import REASONS
from stream.errors import BrokerError
from stream.settings import Settings

# Sent before the first of them must be acknowledged: enough for full batches, little to say "unknown" about.
SENT_AT_ONCE = 500


class Letter(NamedTuple):
    """One record of the dead-letter topic. `cause` is None where its headers do not say why it is there."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    cause: Cause | None

    @property
    def truncated(self) -> bool:
        """Whether a part of its value is lost."""
        return any(name == TRUNCATED_FROM for name, _ in self.headers)


class Wanted(NamedTuple):
    """Which letters: those with this reason and at this place in the dead-letter topic; None for any."""

    reason: str | None = None
    place: tuple[int, int] | None = None

    def has(self, letter: Letter) -> bool:
        """Whether the letter is one of them."""
        reason = letter.cause.reason if letter.cause else None
        return self.reason in {None, reason} and self.place in {None, (letter.partition, letter.offset)}


class Requeued(NamedTuple):
    """What became of the wanted letters: acknowledged by Kafka in their topic again, or not sent, and why not."""

    sent: int
    not_sent: dict[str, int]


def wanted_letters(reason: str | None, place: str | None) -> Wanted:
    """Read a filter from the command line; `place` is PARTITION:OFFSET. `WrongUse` for what can't be one."""
    if reason is not None and reason not in REASONS:
        raise WrongUse(f"no dead letter has the reason {reason!r}; the reasons are {', '.join(REASONS)}")
    if place is None:
        return Wanted(reason)
    partition, colon, offset = place.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise WrongUse(f"--offset {place!r} is not PARTITION:OFFSET; `nextclick dead-letters show` prints these")
    return Wanted(reason, (int(partition), int(offset)))


def read_letters(settings: Settings, wanted: Wanted) -> Iterator[Letter]:
    """Yield the wanted letters that are in the topic now, each partition's oldest first.

    Raises:
        BrokerError: Kafka is not reached.
        TopicError: there is no dead-letter topic.

    """
    with topic_reader(settings.kafka, settings.topics.dead_letters, from_beginning=True) as reader:
        for record in reader.present_records():
            headers = list(record.headers)
            letter = Letter(
                record.partition,
                record.offset,
                record.timestamp,
                record.key,
                record.value,
                headers,
                read_cause(headers),
            )
            if wanted.has(letter):
                yield letter


def requeue(settings: Settings, wanted: Wanted, *, dry_run: bool = False) -> Requeued:
    """Send the wanted letters back to the clicks topic: key, value and headers as received, to the partition of then.

    Letters stay in the dead-letter topic. Sending one twice does no harm: a session knows its events by their ids.

    Raises:
        BrokerError: Kafka is not reached, or did not acknowledge a letter; the message says how many it did.
        TopicError: there is no dead-letter topic.

    """
    not_sent: Counter[str] = Counter()
    letters = list(_sendable(read_letters(settings, wanted), settings.topics.clicks, not_sent))
    if letters and not dry_run:
        _send_all(settings, letters)
    return Requeued(len(letters), dict(not_sent))


def _sendable(letters: Iterable[Letter], clicks: str, not_sent: Counter[str]) -> Iterator[Letter]:
    for letter in letters:
        if letter.cause is None:
            not_sent["its headers do not say where it came from"] += 1
        elif letter.cause.topic != clicks:
            # Whoever may write dead letters must not be able to have any topic written by an operator.
            not_sent[f"it came from {letter.cause.topic}, and topics.clicks is {clicks}"] += 1
        elif letter.truncated:
            not_sent["it was too large to be kept whole"] += 1
        elif letter.key is None and letter.value is None:
            not_sent["it has neither key nor value"] += 1
        else:
            yield letter


def _send_all(settings: Settings, letters: Sequence[Letter]) -> None:
    topic, acknowledged = settings.topics.clicks, 0
    with producer_client(settings.kafka) as producer:
        partitions = producer.partitions_for(topic)
        for start in range(0, len(letters), SENT_AT_ONCE):
            reports = [_send(producer, topic, letter, partitions) for letter in letters[start : start + SENT_AT_ONCE]]
            producer.flush()
            failed = [report.exception for report in reports if report.failed()]
            acknowledged += len(reports) - len(failed)
            if failed:
                raise BrokerError(
                    f"Kafka acknowledged {acknowledged} of {len(letters)} letters, then refused one ({failed[0]}); all "
                    "are still in the dead-letter topic: run the same command again, what is sent twice does no harm"
                )


def _send(producer: Any, topic: str, letter: Letter, partitions: set[int]) -> Any:
    assert letter.cause is not None
    # Back to its old partition even where a key's hash says another one: its session's state is there.
    partition = letter.cause.partition if letter.cause.partition in partitions else None
    headers = received_headers(letter.headers)
    return producer.send(topic, value=letter.value, key=letter.key, headers=headers, partition=partition)
