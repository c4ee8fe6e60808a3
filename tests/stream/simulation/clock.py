"""Time that costs nothing, and processes that live by it.

All processes take turns in one thread. When none of them has anything to do, the clock jumps to the next thing that
will happen. So a session timeout takes no time, and a run can be repeated exactly.
"""

import asyncio
import heapq
import itertools
import sys
from asyncio import events
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any

# What a turn of a loop takes: else whoever waits for the rest of a time, less than a float can tell, waits for ever.
TURN_S = 1e-6


class Stuck(AssertionError):
    """Nothing will ever happen any more, or not in time."""


class _NoSelector:
    """There is nothing to select from: no loop has a socket."""

    def select(self, timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None: ...


class Loop(asyncio.BaseEventLoop):
    """An event loop that takes one turn when it is told to, and sleeps by the world's clock."""

    def __init__(self, clock: "Clock") -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._clock = clock
        self.set_exception_handler(lambda loop, context: None)  # a killed process cannot complain

    def time(self) -> float:
        return self._clock.now

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    @property
    def next_at(self) -> float | None:
        """When it has something to do."""
        if self._ready:  # type: ignore[attr-defined]
            return self._clock.now
        while self._scheduled and self._scheduled[0]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
        return self._scheduled[0]._when if self._scheduled else None  # type: ignore[attr-defined]

    def turn(self) -> None:
        """Do what is due."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)  # type: ignore[attr-defined]
        events._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)


class Process:
    """A process with one event loop. It may be frozen (SIGSTOP) or killed (SIGKILL), of which it learns nothing."""

    def __init__(self, clock: "Clock", name: str) -> None:
        self.name = name
        self.loop = Loop(clock)
        self.frozen = False
        self.dead = False
        self._clock = clock
        self._held: list[Callable[[], None]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start a task in it."""
        return self.loop.create_task(work)

    def tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Let something happen in its loop, as a socket would: later, if it is frozen."""
        if not self.dead:
            self.loop.call_soon(callback, *arguments)

    def when_it_runs(self, action: Callable[[], None]) -> None:
        """Do what its other threads would do: now, or when it is not frozen any more; never, when it is dead."""
        if self.frozen:
            self._held.append(action)
        elif not self.dead:
            action()

    def freeze(self) -> None:
        """Stop it, with all of its threads."""
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on where it was."""
        self.frozen = False
        held, self._held = self._held, []
        for action in held:
            self.when_it_runs(action)

    def kill(self) -> None:
        """End it between two turns."""
        self.dead = True
        self._held.clear()

    def bury(self) -> None:
        """Clear up after its death: end its tasks, so that the interpreter has nothing to complain of."""
        self.dead = True
        for _ in range(50):
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if not tasks:
                break
            for _ in range(20):
                self.loop.turn()
        self.loop.close()


class Thread(Executor):
    """The serving thread of a process: what it is given is done after so many seconds. `working` tells how much is."""

    def __init__(self, clock: "Clock", process: Process, seconds: float) -> None:
        self._clock = clock
        self._process = process
        self.seconds = seconds
        self.working = 0

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.working += 1

        def work() -> None:
            self.working -= 1
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = call(*arguments, **options)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._clock.after(self.seconds, lambda: self._process.when_it_runs(work))
        return future


class Clock:
    """The time, what will happen when, and the processes that live in it."""

    def __init__(self) -> None:
        self.now = 1.0
        self.processes: list[Process] = []
        self.running: Process | None = None
        """The process whose turn it is."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        """Return the time, in place of `time.monotonic`."""
        return self.now

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen then."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), action))

    def process(self, name: str) -> Process:
        """Begin a process."""
        process = Process(self, name)
        self.processes.append(process)
        return process

    def until(self, effect: Callable[[], Any], seconds: float = 120.0) -> None:
        """Let time pass until there is an effect.

        Raises:
            Stuck: there is none in that time, or nothing will happen any more.

        """
        deadline = self.now + seconds
        while not effect():
            at = self._next_at()
            if at is None or max(at, self.now) > deadline:
                self.now = max(self.now, deadline)
                raise Stuck(f"waited {seconds:g} s in vain, until {self.now:.3f}")
            self.now = max(self.now, at) + TURN_S
            self._turn()

    def pass_(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        self.after(seconds, lambda: None)
        self.until(lambda: self.now >= end, seconds + 1)

    def _turn(self) -> None:
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
        for process in list(self.processes):
            at = None if process.dead or process.frozen else process.loop.next_at
            if at is not None and at <= self.now:
                self.running = process
                process.loop.turn()
                self.running = None

    def _next_at(self) -> float | None:
        times = [self._events[0][0]] if self._events else []
        times += [
            at
            for process in self.processes
            if not (process.dead or process.frozen) and (at := process.loop.next_at) is not None
        ]
        return min(times, default=None)
