"""The worker's own small HTTP server: /metrics, /live and /ready, in a thread: it answers while the loop works."""

import json
import threading
import time
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from serving.errors import NextclickError

# A loop that has not turned for so long is stuck; one batch takes milliseconds.
LIVE_LIMIT_S = 15.0
JSON = "application/json"


class Health:
    """What the probes answer. Written by the worker's loop, read by the server's threads.

    Args:
        parts: what must be there before the worker is ready, in the order of the answer.

    """

    def __init__(self, parts: Iterable[str]) -> None:
        self._parts = dict.fromkeys(parts, False)
        self._beat = time.monotonic()
        self.beats = 0
        """How often the loop has said that it turns."""

    def set(self, part: str, ready: bool) -> None:
        """Say that a part is there, or no longer."""
        self._parts[part] = ready

    def beat(self) -> None:
        """Say that the loop has turned."""
        self._beat = time.monotonic()
        self.beats += 1

    @property
    def silence_s(self) -> float:
        """Seconds since the loop turned last."""
        return time.monotonic() - self._beat

    @property
    def missing(self) -> list[str]:
        """The parts that are not there."""
        return [part for part, ready in self._parts.items() if not ready]

    def live(self) -> tuple[HTTPStatus, bytes]:
        """Answer the question whether the process should be killed."""
        silence = self.silence_s
        alive = silence < LIVE_LIMIT_S
        body = {"live": alive, "seconds_since_loop_turned": round(silence, 3)}
        return _status(alive), json.dumps(body).encode()

    def ready(self) -> tuple[HTTPStatus, bytes]:
        """Answer the question whether the worker serves, and what is missing if it does not."""
        missing = self.missing
        body = {"ready": not missing, "missing": missing, "parts": dict(self._parts)}
        return _status(not missing), json.dumps(body).encode()


class HealthServer:
    """Serves `health` and the metrics of `registry` until it is closed.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes any free one, which `url` then names.
        health: what /live and /ready answer.
        registry: what /metrics answers.

    Raises:
        NextclickError: the port cannot be listened on.

    """

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry) -> None:
        handler = type("Handler", (_Handler,), {"health": health, "registry": registry})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise NextclickError(
                f"{host}:{port} cannot be listened on for metrics and health ({error.strerror or error}); "
                "set monitoring.port to another one, or to 0 for any that is free"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.1], name="health", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is reached, for example http://127.0.0.1:9464."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A worker that is started again at once takes its port back, old connections or not.
    allow_reuse_address = True

    def server_bind(self) -> None:
        """Bind without asking DNS for this host's name, as HTTPServer does; that can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    health: Health
    registry: CollectorRegistry
    timeout = 5
    server_version = "nextclick"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(self.registry), content_type)
        elif path == "/live":
            self._answer(*self.health.live(), JSON)
        elif path == "/ready":
            self._answer(*self.health.ready(), JSON)
        else:
            body = json.dumps({"error": f"{path} is not here; /metrics, /live and /ready are"}).encode()
            self._answer(HTTPStatus.NOT_FOUND, body, JSON)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a probe comes every few seconds, for ever."""


def _status(good: bool) -> HTTPStatus:
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
