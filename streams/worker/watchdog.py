"""Ends a worker that is alive but dead: records wait and nothing moves, or the event loop does not turn."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from streams.worker.owner import Progress

log = structlog.get_logger("vigil.worker")

EXIT_STALLED: Final = 70
"""EX_SOFTWARE of sysexits.h; whoever runs workers starts a new one."""
LOOKS: Final = 10
"""Looks within the time that a stall may last."""


class Watchdog:
    """A thread of its own: a loop that hangs cannot watch itself. `progress` is called from the loop through `seen`."""

    def __init__(self, stalled_s: float, end: Callable[[int], None] = os._exit) -> None:
        self._stalled_s = stalled_s
        self._end = end
        self._moved: dict[int, tuple[int, float]] = {}
        self._behind: dict[int, int] = {}
        self._turned_s = time.monotonic()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._turned_s = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopping.set()

    def seen(self, progress: Iterable[Progress]) -> None:
        """What the event loop knows now, at every turn."""
        now_s = time.monotonic()
        with self._lock:
            self._turned_s = now_s
            moved = {}
            self._behind = {}
            for entry in progress:
                before = self._moved.get(entry.partition)
                stands = before is not None and before[0] == entry.next_offset and entry.end > entry.next_offset
                moved[entry.partition] = (entry.next_offset, before[1] if before is not None and stands else now_s)
                if entry.end > entry.next_offset:
                    self._behind[entry.partition] = entry.end - entry.next_offset
            self._moved = moved

    def stalled(self, now_s: float) -> str | None:
        """Why the worker has to end; None while it has not."""
        with self._lock:
            if now_s - self._turned_s > self._stalled_s:
                return f"the event loop has not turned for {now_s - self._turned_s:.0f} s"
            for number, lag in self._behind.items():
                offset, since_s = self._moved[number]
                if now_s - since_s > self._stalled_s:
                    return f"partition {number} has stood at offset {offset} for {now_s - since_s:.0f} s while {lag} records wait"
        return None

    def _run(self) -> None:
        while not self._stopping.wait(self._stalled_s / LOOKS):
            if (why := self.stalled(time.monotonic())) is not None:
                log.critical("the worker ends itself", why=why)
                self._end(EXIT_STALLED)
                return
