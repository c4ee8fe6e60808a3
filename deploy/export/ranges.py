"""Which part of a topic is exported: offsets of each partition, named or found by the broker's time."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from serving.errors import WrongUse
from stream.clients import TopicReader
from stream.errors import TopicError

Offsets = Mapping[int, int]
"""An offset by partition."""

Bound = int | Offsets
"""A broker's time (UTC epoch milliseconds), or offsets."""


class Range(NamedTuple):
    """Offsets of one partition: from `first` to the one before `end`. Some of them may hold no record."""

    first: int
    end: int


def parse_bound(text: str, option: str) -> Bound:
    """Read `2026-11-01`, `2026-11-01T12:00:00Z` (UTC where no zone is named) or `0:1200,1:980` (partition:offset).

    A time before 1970 is 1970: no broker's clock says an earlier one, and Kafka is not asked for times below 0.

    Raises:
        WrongUse: it is none of them; the message names the option.

    """
    if re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text):
        pairs = [pair.split(":") for pair in text.split(",")]
        offsets = {int(partition): int(offset) for partition, offset in pairs}
        if len(offsets) < len(pairs):
            raise WrongUse(f"{option} {text} names a partition twice: name each once")
        return offsets
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(
            f"{option} {text} is neither a time, such as 2026-11-01 or 2026-11-01T12:00:00Z, nor offsets by partition, "
            "such as 0:1200,1:980"
        ) from error
    return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))


def find_ranges(reader: TopicReader, topic: str, since: Bound | None, until: Bound | None) -> dict[int, Range]:
    """Return what is to be read of each partition; without bounds, all that was there when the reader was made.

    Raises:
        TopicError: offsets that retention has removed.
        WrongUse: offsets that are not there yet, an end before its beginning, or a partition that there is not.

    """
    begins = {key.partition: offset for key, offset in reader.begins.items()}
    ends = {key.partition: offset for key, offset in reader.ends.items()}
    lower, upper = (_offsets(reader, bound, begins, ends) for bound in (since, until))
    return ranges_between(topic, begins, ends, lower, upper)


def ranges_between(topic: str, begins: Offsets, ends: Offsets, since: Offsets, until: Offsets) -> dict[int, Range]:
    """Return the range of each partition, in the order of their numbers; a partition without a bound is taken whole.

    Raises:
        TopicError, WrongUse: as `find_ranges`.

    """
    if strange := (since.keys() | until.keys()) - begins.keys():
        raise WrongUse(f"topic {topic} has partitions 0 to {len(begins) - 1}, not {min(strange)}: name one of them")
    _check_kept(topic, begins, since, until)
    ranges = {p: Range(since.get(p, begins[p]), until.get(p, ends[p])) for p in sorted(begins)}
    for p, (first, end) in ranges.items():
        if max(first, end) > ends[p]:
            raise WrongUse(f"partition {p} of {topic} ends at offset {ends[p]}, not at {max(first, end)}: name that")
        if first > end:
            raise WrongUse(f"partition {p} of {topic}: --since is offset {first}, --until is {end}: swap them")
    return ranges


def _check_kept(topic: str, begins: Offsets, since: Offsets, until: Offsets) -> None:
    if lost := {p: begins[p] - offset for p, offset in since.items() if offset < begins[p]}:
        where = ", ".join(f"{count} of partition {p} (it begins at {begins[p]})" for p, count in sorted(lost.items()))
        raise TopicError(
            f"topic {topic} does not hold the offsets any more that --since asks for: retention removed {where}; begin "
            "later, and keep clicks for longer (retention.ms) than the time between two exports"
        )
    if gone := {p: end for p, end in sorted(until.items()) if end < begins[p]}:
        where = ", ".join(f"partition {p} begins at {begins[p]}, --until is {end}" for p, end in gone.items())
        raise TopicError(
            f"topic {topic} holds nothing any more, by its retention, of what comes before --until: {where}; end later"
        )


def _offsets(reader: TopicReader, bound: Bound | None, begins: Offsets, ends: Offsets) -> Offsets:
    """Return a bound's offsets; by time, that of the first record that the broker took then or later."""
    if bound is None:
        return {}
    if not isinstance(bound, int):
        return bound
    found: Mapping[Any, Any] = reader.consumer.offsets_for_times(dict.fromkeys(reader.begins, bound))
    # Kafka answers nothing where there is no such record, the embedded broker a time of -1.
    later = {key.partition: hit.offset for key, hit in found.items() if hit is not None and hit.timestamp >= 0}
    return {p: min(max(later.get(p, ends[p]), begins[p]), ends[p]) for p in begins}
