"""Processes and folders that never outlive this one, not even when it is killed.

Everything here is POSIX. A `Guard` is a shell that waits for the end of a pipe whose other end only this process
holds. The pipe ends when this process closes it or dies, however it dies; the shell then kills the process that it
watches and removes the folder. The kernel's own way (`PR_SET_PDEATHSIG`) was not taken: it exists on Linux only, fires
when the *thread* that started the child ends, and leaves the folder.
"""

import contextlib
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.local.errors import LocalBrokerError

# Each line names the process to kill (0: none), the end of the pipe says when.
GUARD_SCRIPT = """
trap '' INT TERM HUP
pid=0
while read -r line; do pid=$line; done
[ "$pid" -gt 0 ] && kill -9 "$pid" 2>/dev/null
rm -rf -- "$1"
"""

# Below the ports that the kernel gives to outgoing connections (Linux: 32768 up). Inside that range a client that keeps
# trying to reach a stopped broker on this machine ends up connected to itself, and the broker can't come back.
PORTS = range(15000, 32000)


class Guard:
    """A temporary folder, and at most one process, that are gone when this process is."""

    def __init__(self, prefix: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"nextclick-{prefix}-"))
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", GUARD_SCRIPT, "nextclick-guard", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C and of a signal to our process group
            env={"PATH": "/usr/bin:/bin"},  # it needs `rm`, whatever the PATH of this process is
        )

    def watch(self, pid: int) -> None:
        """Kill this process at the end, and none that was named before; 0 for none."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{pid}\n".encode())
        self._shell.stdin.flush()

    def close(self) -> None:
        """Kill the process that is being watched and remove the folder. The second call does nothing."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()


class BackgroundProcess:
    """One run of a program, its output in a file, watched by a guard.

    It has a session of its own: Ctrl-C reaches only this process, which then ends the others in its own order. `env`
    is its whole environment; None gives it ours.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, guard: Guard, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._guard = guard
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
            )
        guard.watch(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return the exit code; `LocalBrokerError` when it takes longer than that."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LocalBrokerError(f"{self.name} did not end within {timeout_s:g} s. {self.last_lines()}") from error
        self._guard.watch(0)
        return code

    def run_on(self) -> NoReturn:
        """Wait for as long as it runs, which it should do until this process is interrupted.

        Raises:
            LocalBrokerError: it ended by itself; the message has the log's last lines.

        """
        code = self._process.wait()
        self._guard.watch(0)
        raise LocalBrokerError(f"{self.name} ended by itself with exit code {code}. {self.last_lines()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._process.send_signal(number)

    def stop(self, timeout_s: float) -> int:
        """Ask it to end (SIGTERM), kill it when it does not within the time; returns the exit code."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(LocalBrokerError):
            return self.wait(timeout_s)
        return self.kill()

    def kill(self) -> int:
        """End it at once (SIGKILL) and return the exit code."""
        self.send(signal.SIGKILL)
        return self.wait(timeout_s=10)

    def last_lines(self, count: int = 15) -> str:
        """Say what its log ends with, for the end of an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []
        return "\n".join([f"The last lines of its log ({self.log}):", *lines]) if lines else "Its log is empty."

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once `ready()` is true.

        Raises:
            LocalBrokerError: the process ended before, or it takes longer; the message has the log's last lines.

        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.returncode is not None:
                self._guard.watch(0)
                raise LocalBrokerError(f"{self.name} ended with exit code {self.returncode}. {self.last_lines()}")
            if time.monotonic() > deadline:
                raise LocalBrokerError(f"{self.name} was not ready within {timeout_s:g} s. {self.last_lines()}")
            time.sleep(0.02)


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and a closed terminal (SIGHUP) raise KeyboardInterrupt in the main thread, as Ctrl-C does.

    By default they end Python without running one `finally`; with this, `with` blocks clean up behind them.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port whose old connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Find a loopback port that nothing listens on. Another process may still take it first: be ready to try again."""
    for port in random.sample(PORTS, 200):
        if port_is_free(port):
            return port
    raise LocalBrokerError(f"no free port found between {PORTS.start} and {PORTS.stop} on 127.0.0.1")
