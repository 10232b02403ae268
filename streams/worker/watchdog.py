"""Exits when no offset has advanced while records wait, or when the event loop does not turn: a new worker takes the partitions."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

from streams.worker.assigned_partition import Progress

log = structlog.get_logger("vigil.worker")

EXIT_STALLED: Final = 70
"""EX_SOFTWARE of sysexits.h; the service manager starts a new worker."""
LOOKS: Final = 10
"""Looks within the time that a stall may last."""


class Standing(NamedTuple):
    """Where a partition stands: `moved_s` when it last moved, `behind_s` since when records wait without moving it (monotonic)."""

    next_offset: int
    lag: int
    moved_s: float
    behind_s: float
    at_ns: int = 0


class Watchdog:
    """A thread of its own: a loop that hangs cannot watch itself. `progress` is called from the loop through `seen`."""

    def __init__(self, stalled_s: float, end: Callable[[int], None] = os._exit) -> None:
        self._stalled_s = stalled_s
        self._end = end
        self._standing: dict[int, Standing] = {}
        self._rebalancing: tuple[int, float] | None = None
        self._turned_s = time.monotonic()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._turned_s = time.monotonic()
        self._thread.start()

    def seen(self, progress: Iterable[Progress], rebalance: int | None = None) -> None:
        """What the event loop knows now, at every turn. `rebalance`: see Owner.rebalance."""
        now_s = time.monotonic()
        with self._lock:
            self._turned_s = now_s
            if rebalance is None:
                self._rebalancing = None
            elif self._rebalancing is None or self._rebalancing[0] != rebalance:
                self._rebalancing = rebalance, now_s
            before, self._standing = self._standing, {}
            for entry in progress:
                lag = max(0, entry.end - entry.next_offset)
                last = before.get(entry.partition)
                if last is None or (last.next_offset, last.at_ns) != (entry.next_offset, entry.at_ns):
                    last = Standing(entry.next_offset, lag, now_s, now_s, entry.at_ns)
                self._standing[entry.partition] = last._replace(lag=lag, behind_s=last.behind_s if lag else now_s)

    def standing(self) -> tuple[float, dict[int, Standing]]:
        """When the event loop last turned (monotonic), and where each owned partition then stood."""
        with self._lock:
            return self._turned_s, self._standing

    def stalled(self, now_s: float) -> str | None:
        """Why the worker has to end; None while it has not."""
        turned_s, standing = self.standing()
        if now_s - turned_s > self._stalled_s:
            return f"the event loop has not turned for {now_s - turned_s:.0f} s"
        if (rebalancing := self._rebalancing) is not None and now_s - rebalancing[1] > self._stalled_s:
            return f"a rebalance has made no progress for {now_s - rebalancing[1]:.0f} s: the snapshot store or Kafka does not answer"
        for number, (offset, lag, _, behind_s, _) in standing.items():
            if lag and now_s - behind_s > self._stalled_s:
                return f"partition {number} has stood at offset {offset} for {now_s - behind_s:.0f} s while {lag} records wait"
        return None

    def _run(self) -> None:
        while True:
            time.sleep(self._stalled_s / LOOKS)
            if (why := self.stalled(time.monotonic())) is not None:
                log.critical("watchdog exits the worker", why=why)
                self._end(EXIT_STALLED)
                return
