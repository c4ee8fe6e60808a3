"""Ends a worker that has stopped working without knowing it.

Consumers fall silent for reasons that nobody finds (Faust's issues 175, 523, 640 and more): a lost wake-up, a
coordinator that never answers. From the inside all seems well. So the watchdog asks the broker itself, over a
connection of its own, where the topic ends: where clicks wait in a partition, and it has not moved for
`worker.stall_timeout_s`, the process ends, and whatever runs it starts it anew. A worker that is rebuilding its
sessions is not judged, nor is one whose broker does not answer: a new process would do no better.

It also sees that the clicks topic is still the one whose offsets the sessions count.

The watchdog lives in the worker's event loop. Where that hangs itself, a thread ends the process (`Guard`).
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import NamedTuple, Self

from confluent_kafka import KafkaException

from stream.errors import StallError
from stream.transport.broker import Broker

# Looked at more often than it takes to stall, so that one answer that is late does not hide a stall.
LOOKS = 6
LOG = logging.getLogger(__name__)


class Place(NamedTuple):
    """How far a worker is in a partition."""

    position: int | None
    """The offset that is read next, None where that is not known yet."""
    read: int
    """The offset after the last click that was taken, or the one to begin with."""
    committed: int


Progress = Mapping[int, Place] | None
"""How far a worker is: by partition, for those that it has now. None while it recovers."""


class Stall:
    """Tells in which partitions clicks have been waiting, and none of them was finished, for too long.

    What is committed cannot be compared with the end of the log. It follows clicks, and the end also counts what is
    none: the markers of transactions, and all that retention has removed. The position counts it too.

    Args:
        timeout_s: how long that is.

    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._last: Mapping[int, Place] = {}
        self._since: dict[int, float] = {}

    def look(self, now: float, progress: Progress, ends: Mapping[int, int] | None) -> list[int]:
        """Look once, and return the partitions that have stalled.

        Args:
            now: seconds on a clock that only goes forward.
            progress: of the worker.
            ends: by partition, the offset after the last record; None where the broker did not tell.

        """
        places = progress or {}
        self._since = {
            partition: self._since.get(partition, now)
            for partition, place in places.items()
            if ends is not None and _stands_still(self._last.get(partition), place, ends.get(partition, 0))
        }
        self._last = dict(places)
        return sorted(partition for partition, since in self._since.items() if now - since >= self._timeout_s)


def _stands_still(last: Place | None, place: Place, end: int) -> bool:
    if last is None:
        return False
    if place.read > place.committed:  # The position may stand still meanwhile: what is in hand can take its time.
        return place.committed == last.committed
    position = place.committed if place.position is None else place.position
    return end > position and place.position == last.position


class Watchdog:
    """Looks after a worker until it has to be ended.

    Args:
        broker: tells what is in the clicks topic.
        progress: returns how far the worker is.
        timeout_s: how long clicks may wait in a partition while it does not move.

    """

    def __init__(self, broker: Broker, progress: Callable[[], Progress], timeout_s: float) -> None:
        self._broker = broker
        self._progress = progress
        self._timeout_s = timeout_s

    async def run(self) -> None:
        """Look until something is wrong.

        Raises:
            StallError: clicks wait in a partition and it does not move.
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
            progress = self._progress()
            if stalled := stall.look(loop.time(), progress, ends):
                found = "; ".join(_describe(partition, progress, ends) for partition in stalled)
                raise StallError(
                    f"clicks have been waiting in topic {self._broker.topic} for {self._timeout_s:g} s "
                    f"(worker.stall_timeout_s) while none was finished ({found}); the worker ends, to be started anew"
                )


def _describe(partition: int, progress: Progress, ends: Mapping[int, int] | None) -> str:
    assert progress is not None
    assert ends is not None
    place = progress[partition]
    position = "not known" if place.position is None else place.position
    return (
        f"partition {partition} ends at offset {ends.get(partition)}, is read from {position}, "
        f"taken up to {place.read}, committed up to {place.committed}"
    )


class Guard:
    """Ends a process whose event loop hangs. It is a thread, because all that lives in the loop hangs with it.

    It asks nothing but whether the loop turns, and that it does while a worker recovers, or its broker is away. It
    counts its own looks, not seconds: a process that was frozen, or whose machine slept, goes on when it wakes.

    Signals are told to a loop by its own turns too. So a process that is asked to stop while its loop hangs has only
    `stop_timeout_s` left to turn it.

    Not seen is code that keeps the interpreter's lock for itself: this thread then hangs too, and /live with it, which
    is for a probe from outside. A signal is seen when Python code runs, or waits, in the main thread; where that is
    deep in a library, `timeout_s` alone ends it.

    Args:
        beats: returns a number that changes as long as the loop turns.
        end: ends the process, for the reason that it is given.
        timeout_s: how long the loop may stand still.
        stop_timeout_s: how long it may, from a signal on.

    """

    def __init__(
        self, beats: Callable[[], int], end: Callable[[str], object], timeout_s: float, stop_timeout_s: float
    ) -> None:
        self.interval_s = min(timeout_s, stop_timeout_s) / LOOKS
        """How much time is between two looks."""
        self._beats = beats
        self._end = end
        self._limit = self._looks_in(timeout_s)
        self._limit_asked = self._looks_in(min(timeout_s, stop_timeout_s))
        self._last = beats()
        self._silent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def listen(self, numbers: Iterable[signal.Signals]) -> None:
        """Hear of signals, beside the loop, whose handlers must be there already. In the main thread only."""
        for number in numbers:
            signal.signal(number, self._beside(signal.getsignal(number)))
            signal.siginterrupt(number, False)  # as asyncio and uvloop have it

    def ask_to_stop(self) -> None:
        """Say that the process is asked to stop."""
        self._limit, self._silent = self._limit_asked, 0

    def look(self) -> str | None:
        """Look once, and return why the process must end, None where it need not."""
        beats = self._beats()
        self._silent = self._silent + 1 if beats == self._last else 0
        self._last = beats
        if self._silent < self._limit:
            return None
        return f"the event loop has not turned for {self._silent * self.interval_s:g} s"

    def _looks_in(self, seconds: float) -> int:
        return round(seconds / self.interval_s)

    def _beside(self, told: object) -> Callable[[int, FrameType | None], None]:
        def tell(number: int, frame: FrameType | None) -> None:
            self.ask_to_stop()
            if callable(told):
                told(number, frame)

        return tell

    def _run(self) -> None:
        while not self._over.wait(self.interval_s):
            if reason := self.look():
                self._end(reason)
                return
