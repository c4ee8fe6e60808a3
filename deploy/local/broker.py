"""What the brokers on this machine have in common: one port, one folder, one process."""

import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.errors import LocalBrokerError
from deploy.local.process import BackgroundProcess, Guard, free_port, port_is_free


class LocalBroker(ABC):
    """A broker on a loopback port of this machine; a context manager.

    It is started by `with`, ready when the block is entered, and gone, data and all, when the block is left. Nothing is
    left behind either when this process is killed. `stop`, `kill`, `start` and `restart` keep port and data (what an
    in-memory broker keeps is nothing).

    Args:
        port: the loopback port; None takes any free one.

    """

    kind: str
    name: str
    start_timeout_s: float

    def __init__(self, port: int | None = None) -> None:
        if port is not None and not port_is_free(port):
            raise LocalBrokerError(f"port {port} on 127.0.0.1 is taken; name another one, or stop what listens there")
        self.port = free_port() if port is None else port
        self._guard = Guard(self.kind)
        self.folder = self._guard.folder
        self._process: BackgroundProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The file with the output of every run so far."""
        return self.folder / "broker.log"

    @property
    def process(self) -> BackgroundProcess:
        """The broker's running process; `LocalBrokerError` while there is none."""
        if self._process is None:
            raise LocalBrokerError(f"{self.name} on port {self.port} is not running; start it first")
        return self._process

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare the folder for this port, and return the command line of the broker."""

    def start(self) -> None:
        """Start it and wait until it answers; `LocalBrokerError` ends with the log's last lines when it does not."""
        if self._process is not None:
            return
        self._process = BackgroundProcess(self.name, self.command(), log=self.log, guard=self._guard)
        try:
            self._process.wait_until(lambda: answers(self.port), self.start_timeout_s)
        except LocalBrokerError:
            self.kill()
            raise

    def stop(self) -> None:
        """End it as an operator would (SIGTERM), keeping port and folder."""
        if self._process is not None:
            self._process.stop(timeout_s=30)
            self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), keeping port and folder."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stop it and start it again, on the same port, with the same folder."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove its folder."""
        # Nothing on disk is worth an orderly end, and Kafka takes a second for it.
        self.kill()
        self._guard.close()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self.start()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answers(port: int) -> bool:
    """Whether a Kafka broker on this loopback port has a controller and itself in its metadata.

    Asked with Metadata version 1 over a plain socket: clients retry and log by rules of their own, which is right for
    clients, not for a question put every few milliseconds.
    """
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)  # Metadata v1, no client id, no topics
        connection.sendall(struct.pack(">i", len(request)) + request)
        header = connection.recv(12, socket.MSG_WAITALL)
        return len(header) == 12 and struct.unpack(">iii", header)[2] > 0  # size, correlation id, brokers
    return False
