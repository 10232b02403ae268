"""Tracks which records of a partition are settled (delivered or dead letters), so that no offset is committed past one that is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sinks.delivery import Delivery
from sinks.items import ItemKind
from streams.sink_process.reading import Undecodable

Key = tuple[ItemKind, str]


class _Record(NamedTuple):
    offset: int
    length: int
    keys: tuple[Key, ...]
    letters: list[Undecodable]


class OffsetTracker:
    """One partition. `settled_offset`: everything before it is delivered or a dead letter. `bytes` and `items`: of the records from
    there on. `kind`: that of its topic.

    Records before `known_offset` were settled by an earlier owner and are read again for their ids only.
    """

    def __init__(self, kind: ItemKind, known_offset: int) -> None:
        self.kind = kind
        self.known_offset = self.settled_offset = self.read_offset = known_offset
        self.bytes = self.items = 0
        self._waiting: deque[_Record] = deque()

    def add(self, offset: int, length: int, keys: Iterable[Key], letters: list[Undecodable]) -> None:
        """Add the record at `offset`; it is settled once none of `keys` is queued and every dead letter is written."""
        self._waiting.append(_Record(offset, length, tuple(keys), letters))
        self.bytes += length
        self.items += len(self._waiting[-1].keys)
        self.read_offset = offset + 1

    def settle(self, delivery: Delivery) -> int:
        """Advance past settled records: the offset of the first one that is not."""
        while self._waiting:
            record = self._waiting[0]
            while record.letters and delivery.dead_letter(*record.letters[0], self.kind):
                record.letters.pop(0)
            if record.letters or delivery.waits(record.keys):
                return self.settled_offset
            self._waiting.popleft()
            self.bytes -= record.length
            self.items -= len(record.keys)
            self.settled_offset = record.offset + 1
        return self.settled_offset

    def waiting(self) -> Iterator[Key]:
        """Keys of all items that may still be queued."""
        for record in self._waiting:
            yield from record.keys
