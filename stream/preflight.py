"""What must be true of Kafka before a worker joins its group, found out with sentences for what is not."""

import logging
import time

from stream.clients import reach
from stream.contract.specs import changelog_name, find_problems, missing_topics
from stream.contract.topics import describe_topics
from stream.errors import BrokerError, TopicError
from stream.settings import Settings
from stream.state.table import Source

ASK_EVERY_S = 0.5
LOG = logging.getLogger(__name__)


def find_source(settings: Settings) -> Source:
    """Wait for Kafka, check the topics that a worker needs, and return what its states will count.

    Raises:
        BrokerError: Kafka does not answer within `worker.broker_wait_s`, or refuses this client.
        TopicError: a topic is missing, or the changelog does not fit the clicks.

    """
    _wait_for_kafka(settings)
    found = describe_topics(settings)
    problems = find_problems(settings, found)
    clicks = found.get(settings.topics.clicks)
    changelog = found.get(changelog_name(settings))
    fits = clicks is not None and changelog is not None and clicks.partitions == changelog.partitions
    if clicks is None or changelog is None or not fits or missing_topics(settings, found):
        raise TopicError("; ".join(problems))
    for problem in problems:
        LOG.warning("topic is not as it should be problem=%r", problem)
    return Source(settings.topics.clicks, clicks.partitions, clicks.topic_id, changelog.topic_id)


def _wait_for_kafka(settings: Settings) -> None:
    deadline = time.monotonic() + settings.worker.broker_wait_s
    said = False
    while True:
        try:
            return reach(settings.kafka)
        except BrokerError as error:
            if time.monotonic() >= deadline:
                waited = f"after {settings.worker.broker_wait_s:g} s of trying (worker.broker_wait_s)"
                raise BrokerError(f"{error}; given up {waited}") from error
            if not said:
                LOG.warning("waiting for Kafka error=%r", str(error))
                said = True
            time.sleep(ASK_EVERY_S)
