"""The journal: every input, on disk before it is acknowledged. To `vigil run` it is what the Kafka log is to the worker.

Records are numbered from 0 without holes. Segments are files `<first offset>.log` of records
`length u32 | crc32 u32 | arrival_ns i64 | topic u8 | payload`, little-endian; the checksum covers all that follows it.
One writer thread commits in groups: whatever waits is written and synced together, then its futures resolve.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

_HEAD: Final = struct.Struct("<IIqB")
_AFTER_CRC: Final = struct.Struct("<qB")
SEGMENT_BYTES: Final = 64 * 2**20
PENDING_BYTES_MAX: Final = 64 * 2**20
"""Appended but not yet synced; beyond it `append` refuses, and the sender keeps its data."""


class Topic(IntEnum):
    """What a journal record is."""

    TELEMETRY = 0
    COMMAND = 1
    REGISTRY = 2
    KEYED_TELEMETRY = 3  # an idempotency key, a zero byte, then the wire payload


class Entry(NamedTuple):
    """One journal record."""

    offset: int
    arrival_ns: int
    topic: Topic
    payload: bytes


class JournalError(Exception):
    """The journal cannot take or give what was asked; the message says why and what to do."""


class Journal:
    """Append from any thread, read from one. `clock` gives UTC ns and is asked under the lock, so stamps never go back."""

    def __init__(self, folder: Path, clock: Callable[[], int], *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._clock = clock
        self._segment_bytes = segment_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._pending: list[tuple[bytes, Future[int]]] = []
        self._pending_bytes = 0
        self._closing = False
        self._error: JournalError | None = None
        self.first_offset = 0
        self.synced = 0  # next offset a reader may not yet read
        self._next = 0
        self._last_ns = 0
        self._recover()
        self._file: BinaryIO = self._open_segment()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    # -- append -----------------------------------------------------------------------------------------------------

    def append(self, topic: Topic, payload: bytes, arrival_ns: int | None = None) -> Future[int]:
        """Queue a record; the future gives its offset once it is on disk, or raises JournalError.

        `arrival_ns` stamps recorded or simulated input; stamps never go back, so an older one is raised to the last.
        """
        future: Future[int] = Future()
        with self._changed:
            if self._error is not None or self._closing:
                future.set_exception(self._error or JournalError("the journal is closed: Vigil is shutting down, send again"))
                return future
            if self._pending_bytes + len(payload) > PENDING_BYTES_MAX:
                future.set_exception(JournalError("the disk does not keep up: send again in a moment"))
                return future
            self._last_ns = max(self._last_ns, self._clock() if arrival_ns is None else arrival_ns)
            tail = _AFTER_CRC.pack(self._last_ns, int(topic)) + payload
            self._pending.append((struct.pack("<II", len(payload), zlib.crc32(tail)) + tail, future))
            self._pending_bytes += len(payload)
            self._changed.notify_all()
        return future

    def quiet_ns(self) -> int | None:
        """The present, if nothing is on its way: every later record is stamped at or after it. None while records wait."""
        with self._changed:
            if self._pending or self._next != self.synced:
                return None
            self._last_ns = max(self._last_ns, self._clock())
            return self._last_ns

    def close(self) -> None:
        """Sync what waits and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._file.close()

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._closing:
                    self._changed.wait()
                if not self._pending:
                    return
                group, self._pending = self._pending, []
                self._pending_bytes = 0
                first = self._next
                self._next += len(group)
            try:
                if self._file.tell() >= self._segment_bytes:
                    self._file.close()
                    self._file = self._open_segment(first)
                self._file.write(b"".join(record for record, _ in group))
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                self._fail(JournalError(f"the journal cannot be written ({error.strerror}): free disk space and restart Vigil"), group)
                return
            with self._changed:
                self.synced = self._next
                self._changed.notify_all()
            for number, (_, future) in enumerate(group):
                future.set_result(first + number)

    def _fail(self, error: JournalError, group: list[tuple[bytes, Future[int]]]) -> None:
        with self._changed:
            self._error = error
            waiting = group + self._pending
            self._pending = []
            self._changed.notify_all()
        for _, future in waiting:
            future.set_exception(error)

    @property
    def error(self) -> JournalError | None:
        """Why nothing can be appended any more, if so."""
        return self._error

    # -- read -------------------------------------------------------------------------------------------------------

    def wait(self, offset: int, timeout_s: float) -> bool:
        """Wait until the record `offset` can be read; False after `timeout_s`."""
        with self._changed:
            return (
                self._changed.wait_for(lambda: self.synced > offset or self._closing or self._error is not None, timeout_s)
                and self.synced > offset
            )

    def reader(self, offset: int) -> Reader:
        """A reader that starts at `offset`; JournalError when that record is gone."""
        if offset < self.first_offset or offset > self.synced:
            raise JournalError(
                f"the journal holds {self.first_offset} to {self.synced - 1}, {offset} is not there: restore the snapshot that belongs to it or start cold"
            )
        return Reader(self, offset)

    def read(self, offset: int) -> Iterator[Entry]:
        """Records from `offset` up to what is synced now."""
        with self.reader(offset) as reader:
            yield from reader.take()

    def drop_before(self, offset: int) -> int:
        """Delete whole segments below `offset`; returns how many."""
        starts = self._starts()
        gone = 0
        for start, following in pairwise(starts):
            if following <= offset:
                self._path(start).unlink()
                self.first_offset = following
                gone += 1
        return gone

    def segment_of(self, offset: int) -> tuple[int, Path]:
        """First offset and path of the segment that holds, or will hold, record `offset`."""
        starts = self._starts()
        start = starts[bisect_right(starts, offset) - 1]
        return start, self._path(start)

    # -- files ------------------------------------------------------------------------------------------------------

    def _starts(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.log"))

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:016d}.log"

    def _open_segment(self, start: int | None = None) -> BinaryIO:
        starts = self._starts()
        if start is None:
            start = starts[-1] if starts else 0
        file = self._path(start).open("ab")
        _sync_folder(self.folder)
        return file

    def _recover(self) -> None:
        """Find the end; cut off a record that was being written when the power went."""
        starts = self._starts()
        if not starts:
            return
        self.first_offset = starts[0]
        number = starts[-1]
        with self._path(number).open("r+b") as file:
            end = 0
            while (entry := _read_one(file, number)) is not None:
                number, end, self._last_ns = number + 1, file.tell(), entry.arrival_ns
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())
        if number == starts[-1] and len(starts) > 1:
            for entry in entries(self._path(starts[-2]), starts[-2]):
                self._last_ns = entry.arrival_ns
        self._next = self.synced = number


class Reader:
    """Reads a journal forward, keeping its place. For one thread."""

    def __init__(self, journal: Journal, offset: int) -> None:
        self._journal = journal
        self.offset = offset
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def take(self) -> Iterator[Entry]:
        """Records from here up to what is synced when asked; the place moves with each."""
        while self.offset < self._journal.synced:
            file = self._file if self._file is not None else self._open()
            entry = _read_one(file, self.offset)
            if entry is None:  # the segment is finished; the next one starts at this very record
                self.close()
                start, _ = self._journal.segment_of(self.offset)
                if start != self.offset:
                    raise JournalError(
                        f"record {self.offset} of the journal is damaged: restore from a backup, or move the journal away and start cold"
                    )
                continue
            self.offset += 1
            yield entry

    def _open(self) -> BinaryIO:
        start, path = self._journal.segment_of(self.offset)
        file = self._file = path.open("rb")
        for number in range(start, self.offset):
            if _read_one(file, number) is None:
                raise JournalError(
                    f"record {number} of the journal is damaged: restore from a backup, or move the journal away and start cold"
                )
        return file


def _read_one(file: BinaryIO, number: int) -> Entry | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, crc, arrival_ns, topic = _HEAD.unpack(head)
    payload = file.read(length)
    if len(payload) < length or zlib.crc32(head[8:] + payload) != crc:
        return None
    return Entry(number, arrival_ns, Topic(topic), payload)


def entries(path: Path, start: int) -> Iterator[Entry]:
    """Whole records of one segment file, from its beginning; also beside a running writer."""
    with path.open("rb") as file:
        while (entry := _read_one(file, start)) is not None:
            start += 1
            yield entry


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
