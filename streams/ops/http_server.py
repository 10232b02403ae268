"""The operations HTTP server of a process: `/metrics` (Prometheus) and `/healthz` (does it make progress?)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field

log = structlog.get_logger("vigil.operations")

LOOPBACK: Final = "127.0.0.1"
REQUEST_S: Final = 10.0
"""A client that sends or reads more slowly is dropped: it must not hold a thread for ever."""
POLL_S: Final = 0.1
"""Longest wait of `stop`."""

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether the process does its work, and JSON-ready details. Called from another thread at every request; must not block."""


class OperationsConfig(BaseModel):
    """Where a process answers `/metrics` and `/healthz`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default=LOOPBACK, description="address of /metrics and /healthz; no password is asked for, no resident is named")
    port: int = Field(default=0, ge=0, le=65535, description="port of /metrics and /healthz; 0: off")


class Operations:
    """A small HTTP server in a thread of its own. It listens from construction on and answers from `start` on; port 0: it does nothing.

    OSError when the port is taken.
    """

    def __init__(self, port: int, registry: CollectorRegistry, health: Health, *, host: str = LOOPBACK) -> None:
        self._server = _listening(host, port, registry, health) if port else None
        self._thread = threading.Thread(target=self._serve, name="operations", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        if self._server is not None:
            self._thread.start()

    def stop(self) -> None:
        """Answer no longer, and let go of the port."""
        if self._server is not None:
            if self._thread.is_alive():
                self._server.shutdown()
                self._thread.join()
            self._server.server_close()

    def _serve(self) -> None:
        if self._server is not None:
            self._server.serve_forever(POLL_S)


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


def _listening(host: str, port: int, registry: CollectorRegistry, health: Health) -> _Server:
    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):  # a client that went away
                super().handle()

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path == "/healthz":
                status, details = _asked(health)
                self._answer(status, "application/json", msgspec.json.encode(details))
            else:
                self._answer(404, "text/plain; charset=utf-8", b"there are /metrics and /healthz\n")

        def _answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """A probe a second is no news."""

    return Server((host, port), Handler)


def _asked(health: Health) -> tuple[int, dict[str, Any]]:
    try:
        ok, details = health()
    except Exception as error:  # a check that fails must be seen, not end the thread without an answer
        log.exception("the health check failed")
        ok, details = False, {"why": f"the check itself failed with {type(error).__name__}"}
    return 200 if ok else 503, {"ok": ok, **details}
