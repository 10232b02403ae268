"""How a queue is kept in the spool: written, marked when it is done, loaded after a restart; kept in memory alone while the disk refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from sinks.codec import decode, encode
from sinks.delivery.dead_letters import DeadLetters
from sinks.delivery.deduplication import REMEMBERED, DeliveredIds
from sinks.delivery.errors import ErrorLog
from sinks.delivery.queue import DeliveryQueue, Entry
from sinks.delivery.spool import DONE, SHED, WAITING, DeliverySpool, Location
from sinks.items import ItemKind

_log: Final = logging.getLogger(__name__)

_SAVE_ITEMS: Final = 64
"""Items written at once after the disk came back: an attempt on a disk that is still full should cost next to nothing."""


class Persistence:
    """The queue's state on disk. Calls must not overlap: the delivery holds its lock.

    `spool_error` is a sentence while the disk refuses to be written, else ""; `refused` counts the writes that it refused.
    """

    def __init__(
        self, name: str, queue: DeliveryQueue, spool: DeliverySpool, delivered: DeliveredIds, dead_letters: DeadLetters, errors: ErrorLog
    ) -> None:
        self._name, self._queue, self._spool = name, queue, spool
        self._delivered, self._dead_letters, self._errors = delivered, dead_letters, errors
        self.spool_error = ""
        self.refused = 0

    def load(self, now_s: float) -> None:
        """Queue what an earlier process left in the spool, and remember what it delivered."""
        unreadable = 0
        for location, payload, state in self._spool.load():
            kind = location.segment.kind
            if state == SHED or (state == DONE and kind not in REMEMBERED):
                continue
            try:
                item = decode(payload)
            except ValueError:
                unreadable += 1
                if self._dead_letters.write_unreadable(payload, "written by another version of Vigil, or damaged"):
                    self._spool.mark([location], SHED)
                else:
                    location.segment.uses += 1  # it stays in the spool until its dead letter can be written
                continue
            if (kind, item.id) in self._queue or item.id in self._delivered:
                continue
            location.segment.uses += 1
            if state == WAITING:
                self._queue.add(Entry(kind, item.id, item.order_key, location, location.length, now_s, now_s, None))
            else:
                self._delivered.add(item.id, kind, location.segment)
        self._spool.sweep()
        if self._spool.damaged_bytes or unreadable:
            _log.warning("spool of %s: %d damaged bytes, %d unreadable items set aside", self._name, self._spool.damaged_bytes, unreadable)

    def save(self, encoded: Mapping[str, bytes]) -> OSError | None:
        """Write what is in memory alone, most dangerous kinds first. The error when the disk refuses: then the rest stays in memory."""
        error: OSError | None = None
        for kind in ItemKind:
            while error is None and (chunk := self._queue.unsaved(kind, None if encoded else _SAVE_ITEMS)):
                payloads = [encoded[entry.id] if entry.id in encoded else encode(entry.item) for entry in chunk if entry.item is not None]
                try:
                    self._queue.saved(chunk, self._spool.put(kind, payloads))
                except OSError as refused:
                    error = refused
                    break
                if self.spool_error:
                    _log.warning("spool of %s can be written again", self._name)
                    self.spool_error = ""
        if error is not None:
            self.refused += 1
            if not self.spool_error:
                self.spool_error = f"the spool cannot be written ({error.strerror}): items wait in memory alone until there is space again"
                _log.error("%s: %s", self._name, self.spool_error)
        return error

    def remove(self, entries: Iterable[Entry], state: int) -> None:
        """Take `entries` out of the queue and mark them in the spool as DONE (delivered or dead letters) or SHED (given up)."""
        saved: list[tuple[Entry, Location]] = []
        for entry in entries:
            self._queue.remove(entry)
            if entry.location is not None:
                saved.append((entry, entry.location))
            elif state == DONE:
                self._delivered.add(entry.id, entry.kind, None)
        try:
            self._spool.mark([location for _, location in saved], state)
        except OSError as error:
            self._errors.record(
                f"{type(error).__name__} on the spool of {self._name}: {error.strerror}; after a restart some items may come again"
            )
        for entry, location in saved:
            if state == DONE:
                self._delivered.add(entry.id, entry.kind, location.segment)
            else:
                self._spool.release(location.segment)
