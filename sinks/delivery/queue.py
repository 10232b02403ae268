"""The queue of a delivery: what waits, by kind, in which order it is tried, what is shed when there is too much of it.

Bookkeeping alone: no thread, lock, disk or clock. The delivery holds its lock around every call.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sinks.delivery.settings import DeliverySettings
from sinks.delivery.spool import Location
from sinks.items import NEVER_SHED, Item, ItemKind

_KINDS: Final = tuple(ItemKind)
_SHED_ORDER: Final = tuple(kind for kind in reversed(_KINDS) if kind not in NEVER_SHED)
_MEMORY_MAX_BYTES: Final = 32 << 20
"""Encoded bytes of the waiting items kept decoded, and of those a full disk leaves in memory alone: little beside the engine's own state."""


@dataclass(slots=True, eq=False)
class Entry:
    """A waiting item: in the spool at `location`, or (None) in memory alone. `length` is that of its encoded bytes.

    `since_s`: when it came; `due_s`: not to be tried before. `item` is None while it is in the spool alone. `attempts`: those that failed,
    the last of them at `failed_s`. `others_accepted`: the target has accepted another since it first refused this one.
    """

    kind: ItemKind
    id: str
    order_key: str
    location: Location | None
    length: int
    since_s: float
    due_s: float
    item: Item | None
    attempts: int = 0
    failed_s: float = math.inf
    others_accepted: bool = False


class DeliveryQueue:
    """First in, first out within a kind; most dangerous kinds first; items of one order key strictly one after the other.

    `bytes` is the encoded size of all that waits, `unsaved_bytes` of what is in memory alone because the disk refuses it.
    """

    def __init__(self, settings: DeliverySettings) -> None:
        self._settings = settings
        self._waiting: dict[ItemKind, OrderedDict[str, Entry]] = {kind: OrderedDict() for kind in _KINDS}
        self._unsaved: dict[ItemKind, OrderedDict[str, Entry]] = {kind: OrderedDict() for kind in _KINDS}
        self._order: dict[str, OrderedDict[str, None]] = {}
        self._failed: dict[Entry, None] = {}
        self.bytes = self.unsaved_bytes = 0
        self._in_memory = self._memory_bytes = 0

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def __contains__(self, key: tuple[ItemKind, str]) -> bool:
        return key[1] in self._waiting[key[0]]

    def get(self, kind: ItemKind, key: str) -> Entry | None:
        """The entry of an item that waits."""
        return self._waiting[kind].get(key)

    def counts(self) -> dict[ItemKind, int]:
        """How many items of each kind wait."""
        return {kind: len(waiting) for kind, waiting in self._waiting.items()}

    def entries(self, kind: ItemKind) -> Iterator[Entry]:
        """What waits of a kind, in the order in which it is tried."""
        return iter(self._waiting[kind].values())

    def oldest_s(self, kind: ItemKind, now_s: float) -> float:
        """How long the item of `kind` that has waited longest has waited, 0 when none waits."""
        return max((now_s - entry.since_s for entry in self._waiting[kind].values()), default=0.0)

    @property
    def unsaved_count(self) -> int:
        """Items in memory alone."""
        return sum(len(unsaved) for unsaved in self._unsaved.values())

    # -- in and out -------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Append an entry to those of its kind."""
        self._waiting[entry.kind][entry.id] = entry
        if entry.order_key:
            self._order.setdefault(entry.order_key, OrderedDict())[entry.id] = None
        self.bytes += entry.length
        if entry.item is not None:
            self._in_memory += 1
            self._memory_bytes += entry.length
        if entry.location is None:
            self._unsaved[entry.kind][entry.id] = entry
            self.unsaved_bytes += entry.length

    def remove(self, entry: Entry) -> None:
        """Take an entry out, for whatever reason."""
        del self._waiting[entry.kind][entry.id]
        self._failed.pop(entry, None)
        if entry.order_key:
            same_key = self._order[entry.order_key]
            del same_key[entry.id]
            if not same_key:
                del self._order[entry.order_key]
        self.bytes -= entry.length
        self._drop_from_memory(entry)
        if entry.location is None:
            del self._unsaved[entry.kind][entry.id]
            self.unsaved_bytes -= entry.length

    def failed(self, entry: Entry, now_s: float) -> None:
        """An attempt failed. Behind the others of its kind: an item on which the target always fails must not keep them from being tried."""
        entry.attempts += 1
        entry.failed_s = now_s
        self._failed[entry] = None
        self._waiting[entry.kind].move_to_end(entry.id)

    @property
    def attempts_max(self) -> int:
        """How often the target has failed on the item, of those that wait, on which it failed most."""
        return max((entry.attempts for entry in self._failed), default=0)

    # -- memory and disk --------------------------------------------------------------------------------------------

    def unsaved(self, kind: ItemKind, count_max: int | None) -> list[Entry]:
        """The oldest entries of a kind that are in memory alone."""
        return list(islice(self._unsaved[kind].values(), count_max))

    def saved(self, entries: Iterable[Entry], locations: Iterable[Location]) -> None:
        """These are in the spool now. What is too much for the memory is kept there alone; the oldest are due first and stay decoded."""
        for entry, location in reversed(list(zip(entries, locations, strict=True))):
            entry.location = location
            del self._unsaved[entry.kind][entry.id]
            self.unsaved_bytes -= entry.length
            if self._in_memory > self._settings.memory_max_items or self._memory_bytes > _MEMORY_MAX_BYTES:
                self._drop_from_memory(entry)

    def _drop_from_memory(self, entry: Entry) -> None:
        if entry.item is not None:
            entry.item = None
            self._in_memory -= 1
            self._memory_bytes -= entry.length

    # -- what is tried ----------------------------------------------------------------------------------------------

    def batch(self, now_s: float) -> list[Entry]:
        """What to try now, most dangerous kinds first; of one order key only the first, so that a failure cannot turn the order round."""
        batch: list[Entry] = []
        for waiting in self._waiting.values():
            for entry in waiting.values():
                if len(batch) == self._settings.batch_max:
                    return batch
                if entry.due_s <= now_s and self._is_first(entry):
                    batch.append(entry)
        return batch

    def due_in_s(self, now_s: float, *, linger: bool) -> float | None:
        """Seconds until something may be tried (0: now), None when nothing waits. With `linger` measurements wait to form a batch."""
        earliest_s: float | None = None
        for kind, waiting in self._waiting.items():
            lingers = linger and kind is ItemKind.MEASUREMENTS and len(waiting) < self._settings.batch_max
            for entry in waiting.values():
                if not self._is_first(entry):
                    continue
                due_s = max(entry.due_s, entry.since_s + self._settings.linger_s) if lingers else entry.due_s
                if due_s <= now_s:
                    return 0.0
                earliest_s = due_s if earliest_s is None else min(earliest_s, due_s)
                if lingers:
                    break  # the first has waited longest
        return None if earliest_s is None else earliest_s - now_s

    def _is_first(self, entry: Entry) -> bool:
        return not entry.order_key or next(iter(self._order[entry.order_key])) == entry.id

    # -- what is shed -----------------------------------------------------------------------------------------------

    def over_memory(self) -> list[Entry]:
        """What has to go because memory alone holds too much of it: least dangerous kinds first, alerts and audit entries last."""
        return _oldest(self._unsaved, tuple(reversed(_KINDS)), self.unsaved_bytes - _MEMORY_MAX_BYTES)

    def over_spool(self) -> list[Entry]:
        """What has to go because more waits than `spool_max_bytes`: least dangerous kinds first, alerts and audit entries never."""
        return _oldest(self._waiting, _SHED_ORDER, self.bytes - self._settings.spool_max_bytes)


def _oldest(waiting: Mapping[ItemKind, Mapping[str, Entry]], kinds: Iterable[ItemKind], excess_bytes: int) -> list[Entry]:
    """The oldest entries of `kinds`, in the order of these, that together have `excess_bytes` or more (or all there are)."""
    found: list[Entry] = []
    for kind in kinds:
        for entry in waiting[kind].values():
            if excess_bytes <= 0:
                return found
            excess_bytes -= entry.length
            found.append(entry)
    return found
