"""The spool of a delivery: what waits, on disk. Survives kill -9 at once, and a power cut after `flush`.

Every kind of item has its own sequence of segment files, so that what is shed or delivered oldest first empties whole files: a segment
without a use is unlinked, nothing is ever rewritten. A record is `<state><crc32><length>` and the item; once it needs no more delivery its state
byte is overwritten in place, which needs no space on a full disk. On opening, a torn tail is cut off and set aside in `spool.damaged`;
damage in the middle of a segment costs the rest of that segment. The form of the files does not change: earlier versions wrote them.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from sinks.items import ItemKind

WAITING: Final = 1
DONE: Final = 2
SHED: Final = 3
_HEADER: Final = struct.Struct("<BII")
_NAME: Final = re.compile(rf"({'|'.join(ItemKind)})-(\d{{12}})\.log")
_SEGMENT_BYTES: Final = 1 << 20
"""Bytes after which a segment is followed by another: small enough that a single item that waits keeps little on disk."""


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `uses`: how many of its records are still needed, because they wait or because their ids are remembered."""

    kind: ItemKind
    number: int
    path: Path
    size: int = 0
    uses: int = 0


class Location(NamedTuple):
    """Where the bytes of an item are: `offset` and `length` in bytes, in `segment`."""

    segment: Segment
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes of the item; FileNotFoundError when the last use of its segment has ended meanwhile."""
        with _opened(self.segment, os.O_RDONLY) as file:
            return os.pread(file, self.length, self.offset)


class SpoolRecord(NamedTuple):
    """A record found on opening; `state` is WAITING, DONE or SHED."""

    location: Location
    payload: bytes
    state: int


class SpoolBusyError(RuntimeError):
    """Another process delivers from this folder."""


class DeliverySpool:
    """The files of one delivery. Calls must not overlap (the delivery holds its lock); `flush` and `Location.read` may.

    SpoolBusyError when another process has the folder open.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     spool = DeliverySpool(Path(folder))
    ...     (first, second) = spool.put(ItemKind.ALERT, [b"one", b"two"])
    ...     spool.mark([first], DONE)
    ...     spool.close()  # a new process finds what the old one left
    ...     [(record.payload, record.state == WAITING) for record in DeliverySpool(Path(folder)).load()]
    [(b'one', False), (b'two', True)]
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.damaged_bytes = 0
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise SpoolBusyError(f"spool {folder.name} is used by another process: stop it, or give each its own folder") from error
        self._segments: dict[Path, Segment] = {}
        self._current: dict[ItemKind, tuple[Segment, int]] = {}
        self._next = 0
        for path in sorted(folder.glob("*.log")):
            name = _NAME.fullmatch(path.name)
            if name is not None:
                self._segments[path] = Segment(ItemKind(name[1]), int(name[2]), path, path.stat().st_size)
                self._next = max(self._next, int(name[2]) + 1)
        self._dirty: dict[Segment, None] = {}
        self._folder_dirty = False

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, waiting and done."""
        return sum(segment.size for segment in self._segments.values())

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last fsync."""
        return bool(self._dirty) or self._folder_dirty

    def load(self) -> Iterator[SpoolRecord]:
        """Every whole record, those of a kind in the order in which they were put. The caller adds a use for each
        that it needs, then calls `sweep`.
        """
        for segment in list(self._segments.values()):
            end = 0
            data = segment.path.read_bytes()
            for found in _records(segment, data):
                end = found.location.offset + found.location.length
                yield found
            if end < len(data):
                self.damaged_bytes += len(data) - end
                self._set_aside(segment, data, end)

    def put(self, kind: ItemKind, payloads: Sequence[bytes]) -> list[Location]:
        """Append items, each a use of its segment; once it returns they survive the end of this process. OSError (disk full) leaves all as it was."""
        segment, file = self._writable(kind)
        blob, locations = bytearray(), []
        for payload in payloads:
            blob += _HEADER.pack(WAITING, zlib.crc32(payload), len(payload))
            locations.append(Location(segment, segment.size + len(blob), len(payload)))
            blob += payload
        written, view = 0, memoryview(blob)
        try:
            while written < len(blob):
                written += os.pwrite(file, view[written:], segment.size + written)
        except OSError:
            os.ftruncate(file, segment.size)
            raise
        segment.size += len(blob)
        segment.uses += len(locations)
        self._dirty[segment] = None
        return locations

    def mark(self, locations: Sequence[Location], state: int) -> None:
        """Mark items that need no more delivery. A mark that is lost costs a repeat, never an item."""
        by_segment: dict[Segment, list[Location]] = {}
        for location in locations:
            by_segment.setdefault(location.segment, []).append(location)
        for segment, own in by_segment.items():
            with _opened(segment, os.O_WRONLY) as file:
                for location in own:
                    os.pwrite(file, bytes((state,)), location.offset - _HEADER.size)
            self._dirty[segment] = None

    def release(self, segment: Segment) -> None:
        """One use of `segment` less; with the last one a full segment is deleted."""
        segment.uses -= 1
        if segment.uses == 0 and (segment.size >= _SEGMENT_BYTES or not self._is_current(segment)):
            self._drop(segment)

    def sweep(self) -> None:
        """Delete the segments of earlier processes that have no use."""
        for segment in list(self._segments.values()):
            if segment.uses == 0 and not self._is_current(segment):
                self._drop(segment)

    def handles(self) -> list[int]:
        """Descriptors of what was written since the last fsync, for `flush` outside the delivery's lock."""
        files: list[int] = []
        try:
            # One by one: what was opened before the descriptors ran out is closed again.
            files.extend(os.open(segment.path, os.O_RDWR) for segment in self._dirty if segment.path in self._segments)
            if self._folder_dirty:
                files.append(os.open(self._folder, os.O_RDONLY))
        except OSError:
            for file in files:
                os.close(file)
            raise
        self._dirty.clear()
        self._folder_dirty = False
        return files

    @staticmethod
    def flush(handles: list[int]) -> None:
        """fsync what was written before `handles` were taken, and close them; OSError when the disk refuses."""
        try:
            for file in handles:
                os.fsync(file)
        finally:
            for file in handles:
                os.close(file)

    def close(self) -> None:
        """Sync and release the files."""
        try:
            self.flush(self.handles())
        finally:
            for _, file in self._current.values():
                os.close(file)
            self._current.clear()
            os.close(self._lock)

    def _is_current(self, segment: Segment) -> bool:
        current = self._current.get(segment.kind)
        return current is not None and current[0] is segment

    def _writable(self, kind: ItemKind) -> tuple[Segment, int]:
        """The segment that `kind` is appended to. What an earlier process wrote is never appended to: its end may be torn."""
        current = self._current.get(kind)
        if current is not None and current[0].size < _SEGMENT_BYTES:
            return current
        path = self._folder / f"{kind.value}-{self._next:012d}.log"
        fresh = Segment(kind, self._next, path), os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._next += 1
        self._segments[path], self._folder_dirty = fresh[0], True
        self._current[kind] = fresh
        if current is not None:
            os.close(current[1])
            if current[0].uses == 0:
                self._drop(current[0])
        return fresh

    def _drop(self, segment: Segment) -> None:
        if self._is_current(segment):
            os.close(self._current.pop(segment.kind)[1])
        del self._segments[segment.path]
        self._dirty.pop(segment, None)
        segment.path.unlink(missing_ok=True)

    def _set_aside(self, segment: Segment, data: bytes, end: int) -> None:
        """Cut off what is damaged: a torn tail is the ordinary trace of a kill, anything else is kept for whoever wants to repair it."""
        try:
            with (self._folder / "spool.damaged").open("ab") as aside:
                aside.write(data[end:])
            os.truncate(segment.path, end)
        except OSError:
            return  # on a full disk it stays where it is; nothing is appended to it, and the next process finds it again
        segment.size = end


@contextmanager
def _opened(segment: Segment, flags: int) -> Iterator[int]:
    file = os.open(segment.path, flags)
    try:
        yield file
    finally:
        os.close(file)


def _records(segment: Segment, data: bytes) -> Iterator[SpoolRecord]:
    at = 0
    while at + _HEADER.size <= len(data):
        state, crc, length = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        payload = data[start : start + length]
        if state not in {WAITING, DONE, SHED} or len(payload) < length or zlib.crc32(payload) != crc:
            return
        yield SpoolRecord(Location(segment, start, length), payload, state)
        at = start + length
