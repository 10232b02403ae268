"""The alert book as stored."""

from __future__ import annotations

import msgspec

from alerts.model import Alert


class Counters(msgspec.Struct):
    """What the book did besides opening alerts, for metrics; part of the snapshot."""

    events: int = 0
    duplicates: int = 0
    unknown_codes: int = 0
    clears_unmatched: int = 0
    joined_at_bound: int = 0
    refusals: int = 0
    closed_dropped: int = 0
    history_dropped: int = 0
    onsets_untracked: int = 0


class BookSaved(msgspec.Struct, array_like=True):
    """Everything in a book."""

    version: int
    now_ns: int
    open: list[Alert]
    closed: list[Alert]
    seen: list[str]
    counters: Counters
    missing: list[tuple[str, str]] = []
