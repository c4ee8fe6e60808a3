"""What can go wrong in the stream, by what the caller can do about it.

- serving.errors.WrongUse, exit code 2
  - SettingsError: a setting that is unknown or has an unusable value; correct it where the message says it came from
- serving.errors.NextclickError, exit code 1
  - Defect: nextclick's own code does what it should not; report it
  - BrokerError: Kafka cannot be reached, or refuses what was asked; check the address, the credentials, the broker
  - TopicError: a topic is missing or is not as the settings say; `nextclick topics check` tells all of them
  - StallError: the worker had stopped working; it must be started anew, and somebody should look why
  - PublishError: Kafka did not take a record; the worker ends, and reads the events again when it is started
"""

from collections.abc import Iterable
from typing import Any

from serving.errors import NextclickError, WrongUse


class Defect(NextclickError):
    """Code of nextclick's that raised what nobody expects of it."""


class SettingsError(WrongUse):
    """A setting that is unknown, or whose value cannot be used."""


class BrokerError(NextclickError):
    """Kafka cannot be reached, or refuses what was asked."""


class TopicError(NextclickError):
    """A topic is missing, or is not as the settings say."""


class StallError(NextclickError):
    """Clicks were waiting, and the worker had finished none of them for too long."""


class PublishError(NextclickError):
    """Kafka did not take a record of the worker's."""


def as_sentence(error: Exception, place: str = "") -> NextclickError:
    """Return the error itself where it is a sentence already, and the sentence that says what to do where it is not.

    Args:
        error: what was raised.
        place: the records that were in hand, as `place_of` writes them.

    """
    if isinstance(error, NextclickError):
        return error
    at = f" at {place}" if place else ""
    found = " ".join(f"{type(error).__name__}: {error}".split())
    defect = Defect(
        f"this is a bug in nextclick ({found}){at}; nothing of what was in hand is committed, the next worker reads it "
        "again. Run the worker with --debug and report what it prints"
    )
    defect.__cause__ = error
    return defect


def place_of(messages: Iterable[Any]) -> str:
    """Say where Faust's messages stand in their topics: `clicks partition 0 offsets 5 to 9, clicks partition 1 ...`."""
    offsets: dict[tuple[str, int], list[int]] = {}
    for message in messages:
        offsets.setdefault((message.topic, message.partition), []).append(message.offset)
    return ", ".join(
        f"{topic} partition {partition} offset {found[0]}"
        if len(found) == 1
        else f"{topic} partition {partition} offsets {min(found)} to {max(found)}"
        for (topic, partition), found in offsets.items()
    )
