"""Dead letters: what a target refused for good, with the reason, for a person to look at.

Letters of alerts and audit entries are *open* until somebody acknowledges them or has them delivered again (`vigil dead-letters`, which
runs beside the process that delivers): as long as one is open its sink is not well, however old it is.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from sinks.codec import plain
from sinks.delivery.errors import ErrorLog
from sinks.items import NEVER_SHED, Item, ItemKind

_log: Final = logging.getLogger(__name__)

UNREADABLE: Final = "dead-unreadable.jsonl"
"""Bytes that should have been an alert, an audit entry, or nobody knows what."""
ACKNOWLEDGED: Final = "acknowledged.jsonl"
"""Letters that somebody has seen, with who and when."""
_OPEN_FILES: Final = (*(f"dead-{kind.value}.jsonl" for kind in ItemKind if kind in NEVER_SHED), UNREADABLE)


class Letter(NamedTuple):
    """An open dead letter: `id` of its item ("" where that cannot be read), `why` it was refused, and its line in the file."""

    id: str
    why: str
    file: str
    line: bytes


class OpenLetters(NamedTuple):
    """How many dead letters are open, and why the last one was refused."""

    open: int
    why: str

    def sentence(self) -> str:
        """What happened and what to do; "" when nothing is open."""
        if not self.open:
            return ""
        what = "1 alert or audit entry was" if self.open == 1 else f"{self.open} alerts or audit entries were"
        return f"{what} given up ({self.why}): see `vigil dead-letters list`, then `replay` or `acknowledge`"


class DeadLetters:
    """One JSON-lines file per kind, `dead-<kind>.jsonl`. At half of `max_bytes` a file becomes `.1` and the older `.1` is dropped
    and counted; those of alerts and audit entries are kept whole. `name` is that of the delivery, for the log.

    >>> from tempfile import TemporaryDirectory
    >>> from sinks.examples import item
    >>> with TemporaryDirectory() as folder:
    ...     letters = DeadLetters(Path(folder), 1 << 20, "oncall", ErrorLog())
    ...     letters.write(item(ItemKind.ALERT), "receiver answered 410")
    ...     letters.written, letters.open(), letters.path(ItemKind.ALERT).read_bytes()[:48]
    True
    (1, OpenLetters(open=1, why='receiver answered 410'), b'{"why":"receiver answered 410","kind":"alert","i')
    """

    def __init__(self, folder: Path, max_bytes: int, name: str, errors: ErrorLog) -> None:
        self._folder, self._half_bytes = folder, max_bytes // 2
        self._name, self._errors = name, errors
        self._looked: tuple[object, OpenLetters] = None, OpenLetters(0, "")
        self.written = 0
        self.dropped = 0

    def path(self, kind: ItemKind) -> Path:
        """Where the dead letters of `kind` are."""
        return self._folder / f"dead-{kind.value}.jsonl"

    def open(self) -> OpenLetters:
        """The open dead letters, those of earlier processes included. Read again only when a file has changed."""
        marks = tuple(_mark(self._folder / name) for name in _OPEN_FILES)
        if marks != self._looked[0]:
            try:
                letters = open_letters(self._folder)
            except OSError as error:
                return OpenLetters(max(self._looked[1].open, 1), f"the dead letters cannot be read: {error.strerror}")
            self._looked = marks, OpenLetters(len(letters), letters[-1].why if letters else "")
        return self._looked[1]

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
        name = f"dead-unreadable-{kind.value}.jsonl" if kind is not None and bounded else UNREADABLE
        return self._append(self._folder / name, line, bounded=bounded)

    def _append(self, path: Path, line: bytes, *, bounded: bool) -> bool:
        try:
            with locked(self._folder):
                if bounded and path.exists() and path.stat().st_size + len(line) > self._half_bytes:
                    older = path.with_suffix(".jsonl.1")
                    if older.exists():
                        self.dropped += older.read_bytes().count(b"\n")
                    path.replace(older)
                append(path, [line])
        except OSError as error:
            self._errors.record(f"{type(error).__name__} on the dead letters of {self._name}: {error.strerror}")
            return False
        self.written += 1
        return True


# -- for `vigil dead-letters`, beside the process that delivers ------------------------------------------------------------------


def open_letters(folder: Path) -> list[Letter]:
    """The open dead letters in the folder of a delivery, those of alerts first, each file's oldest first."""
    return [_letter(name, line) for name in _OPEN_FILES for line in lines_of(folder / name)]


def acknowledge(folder: Path, by: str, at_ns: int, ids: Collection[str] | None = None) -> list[Letter]:
    """Somebody has seen these letters (None: all that are open): they are kept in `acknowledged.jsonl` and open no longer."""
    note = msgspec.json.encode({"acknowledged_by": by, "acknowledged_at_ns": at_ns})
    return take(folder, ACKNOWLEDGED, lambda letter: ids is None or letter.id in ids, lambda line: note[:-1] + b"," + line[1:])


def take(folder: Path, to: str, wanted: Callable[[Letter], bool], written: Callable[[bytes], bytes]) -> list[Letter]:
    """Move the open letters that are wanted to the file `to`. A crash in between leaves them in both, never in none."""
    taken: list[Letter] = []
    with locked(folder):
        for name in _OPEN_FILES:
            letters = [_letter(name, line) for line in lines_of(folder / name)]
            own = [letter for letter in letters if wanted(letter)]
            if own:
                append(folder / to, [written(letter.line) for letter in own])
                _replace(folder / name, [letter.line for letter in letters if letter not in own])
            taken += own
    return taken


def _letter(file: str, line: bytes) -> Letter:
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        fields = {"why": "this letter cannot be read"}
    return Letter(str(fields.get("id", "")), str(fields.get("why", "")), file, line)


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file, none where there is no file."""
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def append(path: Path, lines: list[bytes]) -> None:
    """Append lines and fsync them."""
    with _opened(path) as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, lines: list[bytes]) -> None:
    if not lines:
        path.unlink()
        return
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    append(draft, lines)
    draft.replace(path)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """`path` for appending. What root makes here belongs to the folder's owner, or the process that delivers could not write it."""
    with path.open("ab") as file:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        yield file


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone with the letters of `folder`: two processes must not move and append at once. Held for the time of one write."""
    with _opened(folder / "dead.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
