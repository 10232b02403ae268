"""What is still to be delivered, on disk: survives kill -9 at once, and a power cut after `sync`.

Every kind of item has its own row of segment files, so that what is shed or delivered oldest first empties whole files: an empty one
is unlinked, nothing is ever rewritten. A record is `<state><crc32><length>` and the item; once it needs no more delivery its state
byte is overwritten in place, which needs no space on a full disk. On opening, a torn tail is cut off and set aside in `spool.damaged`;
damage in the middle of a segment costs the rest of that segment.
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

from sinks.base import ItemKind

WAITING: Final = 1
DONE: Final = 2
SHED: Final = 3
_HEADER: Final = struct.Struct("<BII")
_NAME: Final = re.compile(rf"({'|'.join(ItemKind)})-(\d{{12}})\.log")
_SEGMENT_BYTES: Final = 1 << 20
"""A segment that has grown so large is followed by another: small enough that a single item that waits keeps little on disk."""


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `held`: its records somebody still needs, because they wait or because their ids are remembered."""

    kind: ItemKind
    number: int
    path: Path
    size: int = 0
    held: int = 0


class Place(NamedTuple):
    """Where an item's bytes stand."""

    segment: Segment
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes of the item; FileNotFoundError when the last use of its segment ended meanwhile."""
        with _opened(self.segment, os.O_RDONLY) as file:
            return os.pread(file, self.length, self.offset)


class Found(NamedTuple):
    """A record found on opening."""

    place: Place
    payload: bytes
    state: int


class SpoolBusyError(RuntimeError):
    """Another process delivers from this folder."""


class Spool:
    """The files of one delivery. Calls must not overlap (the delivery holds its lock); `flush` and `Place.read` may."""

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
        """Whether something was written since it was last forced onto the disk."""
        return bool(self._dirty) or self._folder_dirty

    def load(self) -> Iterator[Found]:
        """Every whole record, those of a kind in the order in which they were put. The caller holds those it needs, then calls `sweep`."""
        for segment in list(self._segments.values()):
            end = 0
            data = segment.path.read_bytes()
            for found in _records(segment, data):
                end = found.place.offset + found.place.length
                yield found
            if end < len(data):
                self.damaged_bytes += len(data) - end
                self._set_aside(segment, data, end)

    def put(self, kind: ItemKind, payloads: Sequence[bytes]) -> list[Place]:
        """Append items, held; once it returns they survive the end of this process. OSError (disk full) leaves all as it was."""
        segment, file = self._writable(kind)
        blob, places = bytearray(), []
        for payload in payloads:
            blob += _HEADER.pack(WAITING, zlib.crc32(payload), len(payload))
            places.append(Place(segment, segment.size + len(blob), len(payload)))
            blob += payload
        written, view = 0, memoryview(blob)
        try:
            while written < len(blob):
                written += os.pwrite(file, view[written:], segment.size + written)
        except OSError:
            os.ftruncate(file, segment.size)
            raise
        segment.size += len(blob)
        segment.held += len(places)
        self._dirty[segment] = None
        return places

    def mark(self, places: Sequence[Place], state: int) -> None:
        """Note that items need no more delivery. Losing a note costs a repeat, never an item."""
        by_segment: dict[Segment, list[Place]] = {}
        for place in places:
            by_segment.setdefault(place.segment, []).append(place)
        for segment, own in by_segment.items():
            with _opened(segment, os.O_WRONLY) as file:
                for place in own:
                    os.pwrite(file, bytes((state,)), place.offset - _HEADER.size)
            self._dirty[segment] = None

    def release(self, segment: Segment) -> None:
        """One record of `segment` is needed no more; with the last one a full segment goes."""
        segment.held -= 1
        if segment.held == 0 and (segment.size >= _SEGMENT_BYTES or not self._is_current(segment)):
            self._drop(segment)

    def sweep(self) -> None:
        """Drop the segments of earlier lives that nobody holds."""
        for segment in list(self._segments.values()):
            if segment.held == 0 and not self._is_current(segment):
                self._drop(segment)

    def handles(self) -> list[int]:
        """Descriptors of what was written and not yet forced onto the disk, for `flush` outside the delivery's lock."""
        files = [os.open(segment.path, os.O_RDWR) for segment in self._dirty if segment.path in self._segments]
        if self._folder_dirty:
            files.append(os.open(self._folder, os.O_RDONLY))
        self._dirty.clear()
        self._folder_dirty = False
        return files

    @staticmethod
    def flush(handles: list[int]) -> None:
        """Force onto the disk what was written before `handles` were taken, and give them back."""
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
        """The segment that `kind` is appended to. What an earlier life wrote is never appended to: its end may be torn."""
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
            if current[0].held == 0:
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
            return  # on a full disk it stays where it is; nothing is appended to it, and the next life finds it again
        segment.size = end


@contextmanager
def _opened(segment: Segment, flags: int) -> Iterator[int]:
    file = os.open(segment.path, flags)
    try:
        yield file
    finally:
        os.close(file)


def _records(segment: Segment, data: bytes) -> Iterator[Found]:
    at = 0
    while at + _HEADER.size <= len(data):
        state, crc, length = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        payload = data[start : start + length]
        if state not in {WAITING, DONE, SHED} or len(payload) < length or zlib.crc32(payload) != crc:
            return
        yield Found(Place(segment, start, length), payload, state)
        at = start + length
