"""The HTTP server of every process that takes data: uvicorn with bounds that no client can get around.

Every connection costs a file descriptor, and a process that has none left can no longer write its journal. So there is a cap on
connections, well below the limit of descriptors, and nobody keeps a connection without using it: a header, a body and an answer each have to
get on. A full table closes the connection that has waited longest for a request, else the new one.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import resource
import socket
import time
from functools import partial
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX: Final = 4096
RESERVED: Final = 256
"""Descriptors that no connection takes: for journal, spools, snapshots, database, MQTT, webhooks, and connections that are just accepted."""
ACCEPTED_AT_ONCE: Final = 16
"""Connections that the event loop accepts before the table is asked, each a descriptor."""
BACKLOG: Final = 1024
"""Connections that the system keeps until they are accepted, at no cost in descriptors."""
PER_CONNECTION: Final = 2
"""Its socket, and a file that it is being sent."""
DESCRIPTORS_WANTED: Final = 65_536
SELECTABLE: Final = 1024
"""FD_SETSIZE of select(2)."""
HEADER_S: Final = 10.0
"""From the opening of a connection, or the answer before, to the last byte of a request's header."""
BODY_S: Final = 60.0
"""From the header to the last byte of the body: 4 MB, the most a message may have, take so long at 0.6 Mbit/s."""
WRITE_S: Final = 30.0
"""How long a client may take nothing of its answer while its buffer is full."""
HEADER_BYTES_MAX: Final = 16_384
LOG_EVERY_S: Final = 60.0

_log: Final = logging.getLogger(__name__)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files towards the hard one, to at most DESCRIPTORS_WANTED; the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def connections_max(descriptors: int) -> int:
    """How many connections a process with this limit of descriptors takes; under a small limit half of them stay reserved.

    >>> connections_max(65_536), connections_max(1024), connections_max(256)
    (4096, 384, 64)
    """
    if descriptors == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, (descriptors - min(RESERVED, descriptors // 2)) // PER_CONNECTION))


class _ListeningSocket(socket.socket):
    """Gives its connections descriptors from SELECTABLE on, where there are so many: what waits with select(2), as paho-mqtt does, cannot use
    those, and must be able to connect anew however many clients there are.
    """

    def accept(self) -> tuple[socket.socket, Any]:
        """See socket.socket."""
        connection, address = super().accept()
        try:
            high = fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, SELECTABLE)
        except OSError:  # the limit of descriptors is no higher, or there is none left
            return connection, address
        connection.close()
        return socket.socket(self.family, self.type, self.proto, fileno=high), address


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address; OSError when it is taken. Its connections send small answers at once (no Nagle)."""
    bound = _ListeningSocket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def server_config(app: ASGIApp, *, close_s: float) -> uvicorn.Config:
    """uvicorn's settings: `app` behind bounded connections, which have `close_s` to end when the server does."""
    table = ConnectionTable(connections_max(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    return uvicorn.Config(
        app,
        http=partial(BoundedProtocol, table),  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=int(close_s),
        server_header=False,
        ws="none",
        backlog=ACCEPTED_AT_ONCE,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
    )


class ConnectionTable:
    """The connections of one server. For its event loop's thread."""

    def __init__(self, count_max: int) -> None:
        self.count_max = count_max
        self.open: set[BoundedProtocol] = set()
        self.waiting: dict[BoundedProtocol, None] = {}
        """Those that wait for a request's header, longest first."""
        self.closed = 0
        self._logged_s: float | None = None

    def admit(self, new: BoundedProtocol) -> bool:
        """Take `new` in, if need be in the place of the one that has waited longest for a request; False when every other is at work."""
        if len(self.open) >= self.count_max:
            self.closed += 1
            self._log_full()
            longest = next(iter(self.waiting), None)
            if longest is None:
                return False
            longest.end()
        self.open.add(new)
        return True

    def leave(self, one: BoundedProtocol) -> None:
        """`one` has ended."""
        self.open.discard(one)
        self.waiting.pop(one, None)

    def _log_full(self) -> None:
        now_s = time.monotonic()
        if self._logged_s is None or now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            _log.warning("%d connections are open, the most there may be: %d closed so far to make room", self.count_max, self.closed)


class BoundedProtocol(H11Protocol):
    """A connection of the table whose client has to get on with what it does."""

    def __init__(self, table: ConnectionTable, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._table = table
        self._admitted = False
        self._phase: object = None
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        self._admitted = self._table.admit(self)
        if not self._admitted:
            transport.abort()
            return
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if not self._admitted:
            return
        self._table.leave(self)
        for handle in (self._deadline, self._write_deadline):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._set_deadline()

    def on_response_complete(self) -> None:
        """See H11Protocol."""
        super().on_response_complete()
        self._set_deadline()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(WRITE_S, self.end)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def end(self) -> None:
        """Close it now, whatever waits to be sent."""
        self._table.leave(self)
        self.transport.abort()

    def _set_deadline(self) -> None:
        """The time for the present phase, from its beginning on: what drips in during a phase does not prolong it."""
        phase = self.conn.their_state
        if phase is self._phase or self.transport.is_closing():
            return
        self._phase = phase
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._table.waiting.pop(self, None)
        if phase is h11.IDLE:
            self._table.waiting[self] = None
            self._deadline = self.loop.call_later(HEADER_S, self.end)
        elif phase is h11.SEND_BODY:
            self._deadline = self.loop.call_later(BODY_S, self.end)
