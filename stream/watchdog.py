"""Ends a worker that has stopped working without knowing it.

Consumers fall silent for reasons that nobody finds (Faust's issues 175, 523, 640 and more): a lost wake-up, a
coordinator that never answers. From the inside all seems well. So the watchdog asks the broker itself, over a
connection of its own, where the topic ends: where clicks wait, and no commit has moved for `worker.stall_timeout_s`,
the process ends, and whatever runs it starts it anew. A worker that is rebuilding its sessions is not judged, nor is
one whose broker does not answer: a new process would do no better.

It also sees that the clicks topic is still the one whose offsets the sessions count.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from stream.errors import StallError, TopicError
from stream.settings import KafkaSettings
from stream.transport.credentials import librdkafka_security

ANSWER_S = 10.0
# Looked at more often than it takes to stall, so that one answer that is late does not hide a stall.
LOOKS = 6
LOG = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far a worker is: for each partition that it has now, the committed offset. None while it recovers."""

    committed: Mapping[int, int] | None


class Stall:
    """Tells when a worker has had clicks waiting, and finished none of them, for too long.

    Args:
        timeout_s: how long that is.

    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._committed: Mapping[int, int] = {}
        self._since: float | None = None

    def is_due(self, now: float, progress: Progress, ends: Mapping[int, int] | None) -> bool:
        """Look once.

        Args:
            now: seconds on a clock that only goes forward.
            progress: of the worker.
            ends: by partition, the offset after the last click; None where the broker did not tell.

        """
        if progress.committed is None or ends is None or not self._stands_still(progress.committed, ends):
            self._since = None
            self._committed = dict(progress.committed or {})
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._timeout_s

    def _stands_still(self, committed: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        waiting = any(ends.get(partition, 0) > offset for partition, offset in committed.items())
        return waiting and self._committed == committed


class Broker:
    """Answers about one topic, over a connection of its own.

    Args:
        kafka: how to reach it.
        topic: its name.
        partitions: how many it has.

    """

    def __init__(self, kafka: KafkaSettings, topic: str, partitions: int) -> None:
        from confluent_kafka.admin import AdminClient

        options = {**librdkafka_security(kafka), "bootstrap.servers": ",".join(kafka.servers)}
        # Its threads say every second that a broker is away, which the worker has said already.
        self._client = AdminClient({**options, "log_level": 0, "logger": LOG})
        self._topic = topic
        self._partitions = partitions

    async def ends(self) -> dict[int, int]:
        """Return, by partition, the offset after the last record."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        asked = {TopicPartition(self._topic, partition): OffsetSpec.latest() for partition in range(self._partitions)}
        answers = self._client.list_offsets(asked, request_timeout=ANSWER_S)
        return {tp.partition: (await _answer(answer)).offset for tp, answer in answers.items()}

    async def topic_id(self) -> str | None:
        """Return the topic's id as kafka-python writes it, None where the topic is not there or has none."""
        from confluent_kafka import KafkaError, KafkaException, TopicCollection

        answers = self._client.describe_topics(TopicCollection([self._topic]), request_timeout=ANSWER_S)
        try:
            found = (await _answer(answers[self._topic])).topic_id
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise
        high, low = (bits % 2**64 for bits in (found.get_most_significant_bits(), found.get_least_significant_bits()))
        return str(uuid.UUID(int=high << 64 | low))


async def _answer(future: "Future[Any]") -> Any:
    return await asyncio.wrap_future(future)


class Watchdog:
    """Looks after a worker until it has to be ended.

    Args:
        broker: tells what is in the topic.
        topic: its name.
        topic_id: what the sessions count the offsets of, None where the broker gives no ids.
        progress: returns how far the worker is.
        timeout_s: how long clicks may wait while nothing moves.

    """

    def __init__(
        self, broker: Broker, topic: str, topic_id: str | None, progress: Callable[[], Progress], timeout_s: float
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._topic_id = topic_id
        self._progress = progress
        self._timeout_s = timeout_s
        self._missed = False

    async def run(self) -> None:
        """Look until something is wrong.

        Raises:
            StallError: clicks wait and nothing moves.
            TopicError: the topic was deleted, or deleted and made again.

        """
        from confluent_kafka import KafkaException

        stall, loop = Stall(self._timeout_s), asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._timeout_s / LOOKS)
            ends: dict[int, int] | None = None
            try:
                await self._check_topic()
                ends = await self._broker.ends()
            except KafkaException as error:
                LOG.debug("broker does not tell error=%r", error)
            if stall.is_due(loop.time(), self._progress(), ends):
                raise StallError(
                    f"clicks have been waiting in topic {self._topic} for {self._timeout_s:g} s "
                    f"(worker.stall_timeout_s) while no commit moved (topic ends: {ends}, committed: "
                    f"{self._progress().committed}); the worker ends, to be started anew"
                )

    async def _check_topic(self) -> None:
        if self._topic_id is None:
            return
        found = await self._broker.topic_id()
        missed, self._missed = self._missed, found is None
        # A broker that has just been started may not know its topics yet.
        if found != self._topic_id and (found is not None or missed):
            became = "is gone" if found is None else f"was deleted and made again (id {found}, was {self._topic_id})"
            raise TopicError(
                f"topic {self._topic} {became} while the worker was running; start it again, and it will say what to do"
            )
