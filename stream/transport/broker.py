"""What a broker tells about the clicks topic, over a connection that nobody else uses."""

import asyncio
import logging
import uuid
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream.errors import TopicError
from stream.settings import KafkaSettings
from stream.transport.credentials import librdkafka_security

ANSWER_S = 10.0
# A broker that has just been started may not know its topics yet.
TRIES = 5
PAUSE_S = 0.5
LOG = logging.getLogger(__name__)


class Broker:
    """Answers about one topic.

    Args:
        kafka: how to reach it.
        topic: its name.
        partitions: how many it has.
        topic_id: which topic of that name it was at the start; None where the broker gives topics no ids.

    """

    def __init__(self, kafka: KafkaSettings, topic: str, partitions: int, topic_id: str | None) -> None:
        options = {**librdkafka_security(kafka), "bootstrap.servers": ",".join(kafka.servers)}
        # Its threads say every second that a broker is away, which the worker has said already.
        self._client = AdminClient({**options, "log_level": 0})
        self._partitions = partitions
        self._topic_id = topic_id
        self.topic = topic

    async def ends(self) -> dict[int, int]:
        """Return, by partition, the offset after the last record; `KafkaException` where the broker does not tell."""
        asked = {TopicPartition(self.topic, partition): OffsetSpec.latest() for partition in range(self._partitions)}
        answers = self._client.list_offsets(asked, request_timeout=ANSWER_S)
        return {tp.partition: (await _answer(answer)).offset for tp, answer in answers.items()}

    async def check_topic(self) -> None:
        """See that the topic is the one that it was at the start, whose offsets the sessions count.

        It is taken to be where the broker does not tell.

        Raises:
            TopicError: it was deleted, or deleted and made again.

        """
        if self._topic_id is None:
            return
        found: str | None = None
        for _ in range(TRIES):
            try:
                found = await self._find_id()
            except KafkaException as error:
                LOG.warning("broker does not tell which topic this is topic=%s error=%r", self.topic, error)
                return
            if found is not None:
                break
            await asyncio.sleep(PAUSE_S)
        if found == self._topic_id:
            return
        became = "is gone" if found is None else f"was deleted and made again (its id is {found}, was {self._topic_id})"
        raise TopicError(
            f"topic {self.topic} {became} while the worker was running; start it again, and it will say what to do"
        )

    async def _find_id(self) -> str | None:
        """Return the topic's id as kafka-python writes it, None where there is no such topic."""
        answers = self._client.describe_topics(TopicCollection([self.topic]), request_timeout=ANSWER_S)
        try:
            found = (await _answer(answers[self.topic])).topic_id
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise
        high, low = (bits % 2**64 for bits in (found.get_most_significant_bits(), found.get_least_significant_bits()))
        return str(uuid.UUID(int=high << 64 | low))


async def _answer(future: "Future[Any]") -> Any:
    return await asyncio.wrap_future(future)
