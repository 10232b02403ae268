"""What is given up when too much waits: the oldest of the least dangerous kind; alerts and audit entries last, and in the spool never."""

from __future__ import annotations

import logging
from typing import Final

from sinks.delivery.persistence import Persistence
from sinks.delivery.queue import DeliveryQueue, Entry
from sinks.delivery.settings import DeliverySettings
from sinks.delivery.spool import SHED
from sinks.items import ItemKind

_log: Final = logging.getLogger(__name__)


class Shedding:
    """Keeps a queue within its bounds. `counts`: items shed, by kind; `over_bound`: how often alerts alone were over the bound."""

    def __init__(self, name: str, queue: DeliveryQueue, persistence: Persistence, settings: DeliverySettings) -> None:
        self._name, self._queue, self._persistence, self._settings = name, queue, persistence, settings
        self.counts = dict.fromkeys(ItemKind, 0)
        self.over_bound = 0

    def shed_to_bound(self) -> None:
        """Above a bound shed the oldest of the least dangerous kind. In the spool alerts and audit entries stay whatever its bound says; in
        memory alone they come last, and with them gone `sync` still refuses, so that a restart makes them again.
        """
        self._shed(self._queue.over_memory())
        self._shed(self._queue.over_spool())
        if self._queue.bytes > self._settings.spool_max_bytes:
            self.over_bound += 1
            _log.error("spool of %s is over its bound with alerts alone: they are kept, the target must come back", self._name)

    def _shed(self, entries: list[Entry]) -> None:
        if entries:
            for entry in entries:
                self.counts[entry.kind] += 1
            _log.warning("the queue of %s is full: %d items shed, least dangerous first", self._name, len(entries))
            self._persistence.remove(entries, SHED)
