"""What a process tells the service manager that started it: ready, stopping, still at work (sd_notify(3), "WATCHDOG=1").

Without one (NOTIFY_SOCKET is not set) nothing is told.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

import structlog

log = structlog.get_logger("vigil")

FEEDS: Final = 4
"""How often the watchdog is fed within the time after which it bites; sd_watchdog_enabled(3) wants at least two."""


class ServiceManager:
    """One process's line to its service manager. `watchdog_s`: after so long a silence it is ended and started again; None: never."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.watchdog_s = _watchdog_s(environment)
        self._fed_s = -float("inf")
        self._socket: socket.socket | None = None
        address = environment.get("NOTIFY_SOCKET", "")
        if address:
            # Kept open: it must not be for want of a descriptor that a living process is taken for dead.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            try:
                self._socket.connect("\0" + address[1:] if address.startswith("@") else address)
            except OSError as error:
                log.error("the service manager cannot be reached", why=error.strerror)  # noqa: TRY400 - the reason is the message
                self._socket.close()
                self._socket = None

    def ready(self) -> None:
        """The service does its work from now on."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The service has been asked to end."""
        self._tell("STOPPING=1")

    def progress(self) -> None:
        """The work has got on. Call it as often as you like, and only then: a thread that hangs must fall silent."""
        if self.watchdog_s is None:
            return
        now_s = time.monotonic()
        if now_s - self._fed_s >= self.watchdog_s / FEEDS:
            self._fed_s = now_s
            self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Let the line go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, state: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(state.encode())
        except OSError as error:  # a manager that is restarting, or does not read: the work goes on
            log.warning("the service manager was not told", state=state, why=error.strerror)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """From WATCHDOG_USEC, if it is meant for this process (WATCHDOG_PID)."""
    interval_us = environment.get("WATCHDOG_USEC", "")
    if not interval_us.isdecimal() or int(interval_us) == 0 or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(interval_us) / 1_000_000
