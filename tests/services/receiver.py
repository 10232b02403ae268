"""A real HTTP receiver on a loopback port that keeps what it got and answers as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Got(NamedTuple):
    """One request."""

    headers: dict[str, str]
    body: bytes


Answer = tuple[int, dict[str, str]]
Answerer = Callable[[Got], Answer]
"""Called for every request; may block to hang."""


def accept(_: Got) -> Answer:
    """204 for everything."""
    return 204, {}


class Receiver:
    """`url` to post to (`port` 0: a free one), `got` what came (accepted or not), `answerer` decides, changeable at any time."""

    def __init__(self, answerer: Answerer = accept, port: int = 0) -> None:
        self.got: list[Got] = []
        self.answerer = answerer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                got = Got({key.lower(): value for key, value in self.headers.items()}, body)
                outer.got.append(got)
                status, headers = outer.answerer(got)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """An address with a token in its path, as such addresses have."""
        return f"http://127.0.0.1:{self._server.server_port}/hook/token-in-path"

    @property
    def keys(self) -> list[str]:
        """Idempotency keys in order of arrival."""
        return [got.headers["idempotency-key"] for got in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextmanager
def receiving(answerer: Answerer = accept) -> Iterator[Receiver]:
    """A Receiver for the length of a block."""
    receiver = Receiver(answerer)
    try:
        yield receiver
    finally:
        receiver.close()
