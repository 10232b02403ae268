"""The console on a port, in a thread of its own, so that a busy engine and a busy page do not wait for each other."""

from __future__ import annotations

import threading
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from console.live import Broadcaster
from streams.intake.http_server import BACKLOG, bound_socket, server_config

START_S: Final = 10.0
STOP_S: Final = 3.0


class ConsoleServer:
    """Serves `app` until `stop`. The socket is bound on construction, so a taken port is an OSError there and then."""

    def __init__(self, app: ASGIApp, live: Broadcaster, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = bound_socket(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._live = live
        self._server = uvicorn.Server(server_config(app, close_s=STOP_S))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="console", daemon=True)

    @property
    def url(self) -> str:
        """Where to point a browser."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def start(self) -> None:
        """Returns when the port answers; RuntimeError when it does not within START_S."""
        self._live.open()
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S / 0.02)):
            if self._server.started:
                self._socket.listen(BACKLOG)
                return
            if not self._thread.is_alive():
                break
            waited.wait(0.02)
        raise RuntimeError(f"the console did not start within {START_S:.0f} s on {self.url}: see the log above")

    def stop(self) -> None:
        """End the live streams and the server; returns when its thread has ended."""
        self._live.close()
        self._server.should_exit = True
        self._thread.join(STOP_S + 2.0)
        self._socket.close()
