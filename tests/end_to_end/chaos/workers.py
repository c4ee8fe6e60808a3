"""The workers of a round, started again when they end, as whatever runs them in production does."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.local.process import BackgroundProcess, Guard
from tests.end_to_end.chaos.patience import wait_until

LOOK_EVERY_S = 0.05
STOP_S = 20.0
# Started again after so long; twice as long each time that it ended before it was ready, as Kubernetes does it.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
READY = re.compile(r"^nextclick worker ready", re.MULTILINE)
WHY = re.compile(r"^nextclick: .*", re.MULTILINE)


class Launch(NamedTuple):
    """How a worker of this name is started. The variables come on top of this process's."""

    command: Sequence[str]
    env: dict[str, str]


class End(NamedTuple):
    """How a run of a worker ended. `asked`: a fault killed it, or asked it to stop; `why`: its sentence, if any."""

    worker: str
    code: int
    asked: bool
    why: str


class Slot:
    """One worker: the process that it is now, and how those before ended."""

    def __init__(self, name: str, launch: Launch, folder: Path) -> None:
        self.name = name
        self.ends: list[End] = []
        self.wanted = True
        self._launch = launch
        self._folder = folder
        self._guard = Guard("chaos")
        self._starts = 0
        self._asked = False
        self._pause_s = FIRST_PAUSE_S
        self._start_at_s = 0.0
        self._process: BackgroundProcess | None = None
        self._lock = threading.RLock()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def log(self) -> Path:
        """The output of the newest run."""
        return self._folder / f"{self.name}.{self._starts}.log"

    @property
    def is_ready(self) -> bool:
        """Whether the newest run has said that it is."""
        return self.runs and READY.search(self.log.read_text(errors="replace")) is not None

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal, and return whether it was there to get it."""
        with self._lock:
            if self._process is None or not self.runs:
                return False
            self._asked = self._asked or number in {signal.SIGKILL, signal.SIGTERM}
            self._process.send(number)
            return True

    def supervise(self, *, start: bool = True) -> None:
        """Note its end, and start it when it should run and does not."""
        with self._lock:
            if self._process is not None and self._process.returncode is not None:
                self._note_end(self._process.wait(timeout_s=1))
            if start and self._process is None and self.wanted and time.monotonic() >= self._start_at_s:
                self._start()

    def ask_to_stop(self) -> bool:
        """Ask it to stop, frozen or not; it is not started again. Returns whether it was there to be asked."""
        self.wanted = False
        self.signal(signal.SIGCONT)
        return self.signal(signal.SIGTERM)

    def wait_until_stopped(self, timeout_s: float = STOP_S) -> None:
        """Wait until it has stopped.

        Raises:
            TimeoutError: it has not, or has not in good order.

        """
        wait_until(lambda: not self.runs, timeout_s, f"{self.name} stops, as it was asked to")
        self.supervise()
        if self.ends and self.ends[-1].code:
            raise TimeoutError(f"{self.name} was asked to stop, and ended with code {self.ends[-1].code}")

    def close(self) -> None:
        with self._lock:
            self.wanted = False
            if self._process is not None:
                self._process.kill()
            self._guard.close()

    def _start(self) -> None:
        self._starts += 1
        self._asked = False
        command, env = self._launch
        self._process = BackgroundProcess(self.name, command, log=self.log, guard=self._guard, env=os.environ | env)

    def _note_end(self, code: int) -> None:
        text = self.log.read_text(errors="replace")
        why = WHY.search(text)
        self.ends.append(End(self.log.stem, code, self._asked, why[0] if why else ""))
        self._pause_s = FIRST_PAUSE_S if READY.search(text) else min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._start_at_s = time.monotonic() + self._pause_s
        self._process = None


class Pool:
    """All workers of a round.

    Args:
        launch: says how the worker of a name is started.
        folder: for their logs.

    """

    def __init__(self, launch: Callable[[str], Launch], folder: Path) -> None:
        self._launch = launch
        self._folder = folder
        self.slots: list[Slot] = []
        self._held = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self, workers: int) -> None:
        for _ in range(workers):
            self.add()
        self._thread.start()

    def add(self) -> Slot:
        name = f"worker-{len(self.slots) + 1}"
        slot = Slot(name, self._launch(name), self._folder)
        self.slots.append(slot)
        return slot

    @property
    def wanted(self) -> list[Slot]:
        """Those that should run."""
        return [slot for slot in self.slots if slot.wanted]

    @property
    def running(self) -> list[Slot]:
        """Those that should run and do."""
        return [slot for slot in self.wanted if slot.runs]

    @property
    def ends(self) -> list[End]:
        return [end for slot in self.slots for end in slot.ends]

    def ends_that_name(self, cause: str) -> int:
        """Count the ends whose sentence has these words."""
        return sum(cause in end.why for end in self.ends)

    def hold(self, held: bool) -> None:
        """Start none again while held."""
        self._held = held

    def stop(self) -> None:
        """Ask all to stop, and wait until they have; `TimeoutError` names one that does not."""
        slots = self.wanted
        for slot in slots:
            slot.ask_to_stop()
        for slot in slots:
            slot.wait_until_stopped()

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        for slot in self.slots:
            slot.close()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_EVERY_S):
            for slot in list(self.slots):
                slot.supervise(start=not self._held)
