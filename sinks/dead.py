"""Dead letters: what a target refused for good, with the reason, for a person to look at."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from sinks.base import NEVER_SHED, Item, ItemKind, plain


class DeadLetters:
    """One JSON-lines file per kind, `dead-<kind>.jsonl`. At half of `max_bytes` a file becomes `.1` and the older `.1` is dropped
    and counted; those of alerts and audit entries are kept whole.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._half_bytes = folder, max_bytes // 2
        self.written = 0
        self.dropped = 0

    def path(self, kind: ItemKind) -> Path:
        """Where the letters of `kind` are."""
        return self._folder / f"dead-{kind.value}.jsonl"

    def bury(self, item: Item, why: str) -> None:
        """Write one letter and force it to disk."""
        try:
            line = msgspec.json.encode({"why": why, **plain(item)})
        except (AttributeError, TypeError, ValueError, OverflowError):
            # The body itself is what is wrong: keep what can be said of it.
            line = msgspec.json.encode({"why": why, "kind": item.kind.value, "id": ascii(item.id), "body": ascii(item.body)})
        self._write(self.path(item.kind), line, bounded=item.kind not in NEVER_SHED)

    def bury_bytes(self, payload: bytes, why: str, kind: ItemKind | None = None) -> None:
        """Write a letter for what cannot be read as an item. Where its kind is known and may be shed, the file is bounded."""
        line = msgspec.json.encode({"why": why, "payload": payload})
        bounded = kind is not None and kind not in NEVER_SHED
        name = f"dead-unreadable-{kind.value}.jsonl" if kind is not None and bounded else "dead-unreadable.jsonl"
        self._write(self._folder / name, line, bounded=bounded)

    def _write(self, path: Path, line: bytes, *, bounded: bool) -> None:
        if bounded and path.exists() and path.stat().st_size + len(line) > self._half_bytes:
            older = path.with_suffix(".jsonl.1")
            if older.exists():
                self.dropped += older.read_bytes().count(b"\n")
            path.replace(older)
        with path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.written += 1
