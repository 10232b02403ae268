"""Dead letters: what a target refused for good, with the reason, for a person to look at."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from sinks.codec import plain
from sinks.delivery.errors import ErrorLog
from sinks.items import NEVER_SHED, Item, ItemKind

_log: Final = logging.getLogger(__name__)


class DeadLetters:
    """One JSON-lines file per kind, `dead-<kind>.jsonl`. At half of `max_bytes` a file becomes `.1` and the older `.1` is dropped
    and counted; those of alerts and audit entries are kept whole. `name` is that of the delivery, for the log.

    >>> from tempfile import TemporaryDirectory
    >>> from sinks.examples import item
    >>> with TemporaryDirectory() as folder:
    ...     letters = DeadLetters(Path(folder), 1 << 20, "oncall", ErrorLog())
    ...     letters.write(item(ItemKind.ALERT), "receiver answered 410")
    ...     letters.written, letters.path(ItemKind.ALERT).read_bytes()[:48]
    True
    (1, b'{"why":"receiver answered 410","kind":"alert","i')
    """

    def __init__(self, folder: Path, max_bytes: int, name: str, errors: ErrorLog) -> None:
        self._folder, self._half_bytes = folder, max_bytes // 2
        self._name, self._errors = name, errors
        self.written = 0
        self.dropped = 0

    def path(self, kind: ItemKind) -> Path:
        """Where the dead letters of `kind` are."""
        return self._folder / f"dead-{kind.value}.jsonl"

    def write(self, item: Item, why: str) -> bool:
        """Write one dead letter and fsync it; False when the disk refuses: then the item must stay where it is."""
        self._errors.last = why
        _log.error("sink %s rejected %s %s, it becomes a dead letter: %s", self._name, item.kind.value, item.id, why)
        try:
            line = msgspec.json.encode({"why": why, **plain(item)})
        except (AttributeError, TypeError, ValueError, OverflowError):
            # The body itself is what is wrong: keep what can be said of it.
            line = msgspec.json.encode({"why": why, "kind": item.kind.value, "id": ascii(item.id), "body": ascii(item.body)})
        return self._append(self.path(item.kind), line, bounded=item.kind not in NEVER_SHED)

    def write_unreadable(self, payload: bytes, why: str, kind: ItemKind | None = None) -> bool:
        """Write a dead letter for bytes that cannot be read as an item; False when the disk refuses.

        Where its kind is known and may be shed, the file is bounded.
        """
        line = msgspec.json.encode({"why": why, "payload": payload})
        bounded = kind is not None and kind not in NEVER_SHED
        name = f"dead-unreadable-{kind.value}.jsonl" if kind is not None and bounded else "dead-unreadable.jsonl"
        return self._append(self._folder / name, line, bounded=bounded)

    def _append(self, path: Path, line: bytes, *, bounded: bool) -> bool:
        try:
            if bounded and path.exists() and path.stat().st_size + len(line) > self._half_bytes:
                older = path.with_suffix(".jsonl.1")
                if older.exists():
                    self.dropped += older.read_bytes().count(b"\n")
                path.replace(older)
            with path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._errors.record(f"{type(error).__name__} on the dead letters of {self._name}: {error.strerror}")
            return False
        self.written += 1
        return True
