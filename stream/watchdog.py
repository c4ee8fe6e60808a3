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
from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException

from stream.errors import StallError
from stream.transport.broker import Broker

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


class Watchdog:
    """Looks after a worker until it has to be ended.

    Args:
        broker: tells what is in the clicks topic.
        progress: returns how far the worker is.
        timeout_s: how long clicks may wait while nothing moves.

    """

    def __init__(self, broker: Broker, progress: Callable[[], Progress], timeout_s: float) -> None:
        self._broker = broker
        self._progress = progress
        self._timeout_s = timeout_s

    async def run(self) -> None:
        """Look until something is wrong.

        Raises:
            StallError: clicks wait and nothing moves.
            TopicError: the topic was deleted, or deleted and made again.

        """
        stall, loop = Stall(self._timeout_s), asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._timeout_s / LOOKS)
            ends: dict[int, int] | None = None
            try:
                await self._broker.check_topic()
                ends = await self._broker.ends()
            except KafkaException as error:
                LOG.debug("broker does not tell error=%r", error)
            if stall.is_due(loop.time(), self._progress(), ends):
                raise StallError(
                    f"clicks have been waiting in topic {self._broker.topic} for {self._timeout_s:g} s "
                    f"(worker.stall_timeout_s) while no commit moved (topic ends: {ends}, committed: "
                    f"{self._progress().committed}); the worker ends, to be started anew"
                )
