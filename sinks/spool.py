"""An append-only log of what is still to be delivered: survives kill -9 at once, and a power cut after `sync`.

A record is `<crc32><length><type>` and the payload; a PUT carries an item, a DONE the id of one that needs no more delivery. On
opening, the items put and not done are found again; a torn tail is cut off, damage in the middle is set aside in a file of its own.
Compaction rewrites the live items into a new file that replaces the old one in one rename.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct("<IIB")
_PUT: Final = 1
_DONE: Final = 2
_COMPACT_MIN_BYTES: Final = 1 << 20
"""Below this a log is not worth rewriting."""


class Place(NamedTuple):
    """Where an item's bytes stand in the log."""

    offset: int
    length: int


class SpoolBusyError(RuntimeError):
    """Another process delivers from this folder."""


class Spool:
    """The log of one delivery. Calls must not overlap (the delivery holds its lock)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "spool.log"
        self.damaged_bytes = 0
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise SpoolBusyError(f"spool {folder.name} is used by another process: stop it, or give each its own folder") from error
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size
        self._dirty = False

    @property
    def size_bytes(self) -> int:
        """Bytes of the log on disk, live and done."""
        return self._size

    def load(self) -> list[tuple[Place | None, bytes]]:
        """Every whole record from the start, in order: (place, item) for a PUT, (None, id) for a DONE. Cuts off what is damaged."""
        records: list[tuple[Place | None, bytes]] = []
        good = 0
        for kind, offset, payload in self._records():
            good = offset + len(payload)
            records.append((Place(offset, len(payload)) if kind == _PUT else None, payload))
        if good < self._size:
            self.damaged_bytes = self._size - good
            # A torn tail is the ordinary trace of a kill; anything else is kept for whoever wants to repair it.
            with self.path.with_suffix(".damaged").open("ab") as aside:
                aside.write(os.pread(self._file, self.damaged_bytes, good))
            os.ftruncate(self._file, good)
            self._size, self._dirty = good, True
        return records

    def put(self, payloads: Iterable[bytes]) -> list[Place]:
        """Append items; once it returns they survive the end of this process. OSError (disk full) leaves the log as it was."""
        blob, places = bytearray(), []
        for payload in payloads:
            blob += _HEADER.pack(zlib.crc32(payload, _PUT), len(payload), _PUT)
            places.append(Place(self._size + len(blob), len(payload)))
            blob += payload
        self._append(bytes(blob))
        return places

    def done(self, ids: Iterable[str]) -> None:
        """Append ids that need no more delivery. Losing this line costs a repeat, never an item."""
        raw = [key.encode() for key in ids]
        self._append(b"".join(_HEADER.pack(zlib.crc32(key, _DONE), len(key), _DONE) + key for key in raw))

    def read(self, place: Place) -> bytes:
        """The bytes of one item."""
        return os.pread(self._file, place.length, place.offset)

    def handle(self) -> int:
        """A descriptor of the log as it is now, for `flush` outside the delivery's lock."""
        self._dirty = False
        return os.dup(self._file)

    @staticmethod
    def flush(handle: int) -> None:
        """Force onto the disk what was written before `handle` was taken, and give it back."""
        try:
            os.fdatasync(handle)
        finally:
            os.close(handle)

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last `handle`."""
        return self._dirty

    def wasteful(self, live_bytes: int) -> bool:
        """Whether more than half of the log is done with."""
        return self._size > _COMPACT_MIN_BYTES and self._size > 2 * live_bytes

    def compact(self, live: list[Place], done: Iterable[str]) -> list[Place]:
        """Rewrite the log with the `live` items and the ids `done` that are still worth remembering; their new places."""
        old, old_size, payloads = self._file, self._size, [self.read(place) for place in live]
        fresh = self.path.with_suffix(".new")
        self._file, self._size = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), 0
        try:
            self.done(done)
            places = self.put(payloads)
            os.fsync(self._file)
            fresh.replace(self.path)
        except OSError:
            os.close(self._file)
            self._file, self._size = old, old_size
            raise
        os.close(old)
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self._dirty = False
        return places

    def close(self) -> None:
        """Sync and release the files."""
        os.fdatasync(self._file)
        os.close(self._file)
        os.close(self._lock)

    def _append(self, blob: bytes) -> None:
        written = 0
        try:
            while written < len(blob):
                written += os.pwrite(self._file, blob[written:], self._size + written)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(blob)
        self._dirty = self._dirty or bool(blob)

    def _records(self) -> Iterator[tuple[int, int, bytes]]:
        at = 0
        while at + _HEADER.size <= self._size:
            crc, length, kind = _HEADER.unpack(os.pread(self._file, _HEADER.size, at))
            start = at + _HEADER.size
            if kind not in {_PUT, _DONE} or start + length > self._size:
                return
            payload = os.pread(self._file, length, start)
            if zlib.crc32(payload, kind) != crc:
                return
            yield kind, start, payload
            at = start + length
