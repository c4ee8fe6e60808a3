"""What can be seen from outside while a round runs: committed offsets, and then how far the topics had got."""

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from tests.end_to_end.chaos.topics import reader_options

EVERY_S = 0.1
ASK_S = 2.0
# Kafka keeps commits by a topic's name, and a worker that has not noticed yet that the topic is another one commits
# where it stood in the old one. Each commit says in its metadata which one it counts in.
NAMED = re.compile(r"\btopic_id=(\S+)")

Offsets = Mapping[int, int]


class Sample(NamedTuple):
    """Offsets by partition. The ends were read after the committed offsets, so what is committed lies below them.

    `at_s` is the time before any of it was asked, on the monotonic clock.
    """

    at_s: float
    committed: Offsets
    clicks: Offsets
    recommendations: Offsets
    dead_letters: Offsets
    changelog: Offsets

    @property
    def lag(self) -> int:
        """Clicks that are not committed yet, in all partitions. What is committed beyond the end is of another log."""
        committed = {
            partition: offset for partition, offset in self.committed.items() if offset <= self.clicks[partition]
        }
        return sum(end - committed.get(partition, 0) for partition, end in self.clicks.items())


def count_in(clicks_id: str, found: Iterable[Any]) -> dict[int, int]:
    """Return, by partition, the committed offsets that count in the topic with this id, or do not name any.

    `found` is what confluent-kafka returns. Behind the metadata it sometimes has some characters of something else
    (2.16.1), so what follows an id is not looked at.
    """
    return {
        place.partition: place.offset
        for place in found
        if place.offset >= 0
        and ((named := NAMED.search(place.metadata or "")) is None or named[1].startswith(clicks_id))
    }


class Watch:
    """Takes a sample ten times a second, in a thread, as long as the broker answers.

    Args:
        servers: the broker.
        group: whose committed offsets.
        topics: by the names of a sample's fields.
        partitions: of each topic.

    """

    def __init__(self, servers: str, group: str, topics: Mapping[str, str], partitions: int) -> None:
        # It never subscribes, and so is no member of the group whose offsets it reads. Not the AdminClient, which does
        # all of this too: confluent-kafka 2.16 sometimes never returns from destroying one, or crashes.
        self._consumer = Consumer(reader_options(servers) | {"group.id": group})
        self._topics = topics
        self._partitions = partitions
        self._lock = threading.Lock()
        self._samples: list[Sample] = []
        self._clicks_id = ""
        self._began_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            self._consumer.close()

    def begin_anew(self, clicks_id: str) -> None:
        """Drop all samples, that which is being taken too: the clicks topic is the one with this id now."""
        with self._lock:
            self._clicks_id = clicks_id
            self._began_s = time.monotonic()
            self._samples.clear()

    @property
    def samples(self) -> list[Sample]:
        with self._lock:
            return list(self._samples)

    def latest(self, since_s: float) -> Sample | None:
        """Return the newest sample, None where there is none that was begun after that time."""
        with self._lock:
            return self._samples[-1] if self._samples and self._samples[-1].at_s >= since_s else None

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            with contextlib.suppress(KafkaException):
                sample = self._sample()
                with self._lock:
                    if sample.at_s >= self._began_s:
                        self._samples.append(sample)

    def _sample(self) -> Sample:
        at_s = time.monotonic()
        found = self._consumer.committed(self._places("clicks"), timeout=ASK_S)
        committed = count_in(self._clicks_id, found)
        places = [place for name in self._topics for place in self._places(name)]
        ends: dict[str, dict[int, int]] = {name: {} for name in self._topics}
        names = {topic: name for name, topic in self._topics.items()}
        for place in self._consumer.offsets_for_times(places, timeout=ASK_S):
            if place.error is not None:
                raise KafkaException(place.error)
            ends[names[place.topic]][place.partition] = place.offset
        return Sample(at_s, committed, **ends)

    def _places(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(self._topics[name], partition, OFFSET_END) for partition in range(self._partitions)]
