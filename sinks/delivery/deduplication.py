"""Ids of what was delivered, so that an input replayed after a crash does not call anybody twice."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sinks.delivery.spool import DeliverySpool, Segment
from sinks.items import ItemKind

REMEMBERED: Final = frozenset({ItemKind.ALERT, ItemKind.AUDIT, ItemKind.EVENT})
"""Kinds whose delivered ids are remembered. The others are deduplicated by their target alone."""


class DeliveredIds:
    """The newest `count_max` ids. Each refers to the spool segment whose record says so, if any; that segment stays as long."""

    def __init__(self, spool: DeliverySpool, count_max: int) -> None:
        self._spool, self._count_max = spool, count_max
        self._segments: OrderedDict[str, Segment | None] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._segments

    def add(self, key: str, kind: ItemKind, segment: Segment | None) -> None:
        """Remember `key`; of other kinds, or beyond the bound, the segment is released."""
        if kind in REMEMBERED:
            self._segments[key] = segment
            if len(self._segments) <= self._count_max:
                return
            _, segment = self._segments.popitem(last=False)
        if segment is not None:
            self._spool.release(segment)

    def forget(self, key: str) -> None:
        """Take `key` as not delivered: somebody wants it delivered again."""
        segment = self._segments.pop(key, None)
        if segment is not None:
            self._spool.release(segment)
