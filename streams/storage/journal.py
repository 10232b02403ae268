"""The journal: every input, on disk before it is acknowledged. To `vigil run` it is what the Kafka log is to the worker.

Records are numbered from 0. Segments are files `<first offset>.log` of records (see `records`); numbers have a hole only where
damaged records were set aside. The file `id` says which journal this is, so that snapshots of another one are never mistaken for
its own. One writer thread commits in groups: whatever waits is written and synced together, then its futures resolve.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self, TypeVar

from engine.frame import NS_PER_S
from streams.storage.arrival_clock import AHEAD_LOGGED_NS, STAMP_NS_MAX, ArrivalClock
from streams.storage.journal_records import Entry, Topic, encoded, entries, is_torn, read_one

SEGMENT_BYTES: Final = 64 * 2**20
PENDING_BYTES_MAX: Final = 64 * 2**20
"""Appended but not yet synced; beyond it `append` refuses, and the sender keeps its data."""
NS_PER_MIN: Final = 60 * NS_PER_S
IDENTITY_MIN: Final = 10**11
"""A journal's number has twelve digits, drawn by lot."""


class JournalError(Exception):
    """The journal cannot store or read what was asked; the message says why and what to do."""


class JournalBusy(JournalError):
    """The disk does not keep up. The same append will do in a moment."""


T = TypeVar("T")


def short_of_descriptors(error: OSError) -> bool:
    """Whether the process or the system has no file descriptor left: it passes, so what failed is to be tried again."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def new_future() -> Future[T]:
    """A future that only its maker resolves: a caller may stop waiting, but cannot cancel what is being written."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    return future


class _Pending(NamedTuple):
    record: bytes
    future: Future[int]


class Journal:
    """Append from any thread, read from one. `clock` gives UTC ns and is asked under the lock; None: records bring their time."""

    def __init__(self, folder: Path, clock: Callable[[], int] | None, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._stamps = ArrivalClock(clock)
        self._segment_bytes = segment_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self.identity = _identity(folder)
        self._changed = threading.Condition()
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._closing = False
        self._error: JournalError | None = None
        self.first_offset = 0
        self.synced = 0  # next offset a reader may not yet read
        self._next = 0
        self._recover()
        self.damaged = sorted(path.name for path in folder.glob("*.damaged"))
        self._file: BinaryIO = self._open_segment()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    # -- append -----------------------------------------------------------------------------------------------------

    def append(self, topic: Topic, payload: bytes, arrival_ns: int | None = None) -> Future[int]:
        """Queue a record; the future gives its offset once it is on disk, or raises JournalError (JournalBusy: try again).

        `arrival_ns` stamps recorded or simulated input; stamps never go back, so an older one is raised to the last.
        """
        future: Future[int] = new_future()
        if arrival_ns is not None and not 0 <= arrival_ns <= STAMP_NS_MAX:
            future.set_exception(JournalError(f"a record is stamped 0 to {STAMP_NS_MAX} ns, got {arrival_ns}: send UTC nanoseconds"))
            return future
        with self._changed:
            if self._error is not None or self._closing:
                future.set_exception(self._error or JournalError("the journal is closed: Vigil is shutting down, send again"))
                return future
            if self._pending_bytes + len(payload) > PENDING_BYTES_MAX:
                future.set_exception(JournalBusy("the disk does not keep up: send again in a moment"))
                return future
            stamp_ns = self._stamps.now() if arrival_ns is None else self._stamps.at(arrival_ns)
            self._pending.append(_Pending(encoded(topic, payload, stamp_ns), future))
            self._pending_bytes += len(payload)
            self._changed.notify_all()
        return future

    def now_if_idle_ns(self) -> int | None:
        """The present, if nothing is on its way: every later record is stamped at or after it. None while records wait."""
        with self._changed:
            return None if self._pending or self._next != self.synced else self._stamps.now()

    def close(self) -> None:
        """Sync what waits and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._file.close()

    def _write(self) -> None:
        while group := self._waiting():
            try:
                self._commit(group)
            except OSError as error:
                self._fail(JournalError(f"the journal cannot be written ({error.strerror}): free disk space and restart Vigil"), group)
                return
            except Exception as error:  # noqa: BLE001 - a writer that ends must say so, whatever ended it
                self._fail(JournalError(f"the journal's writer failed ({error!r}): restart Vigil and report it"), group)
                return

    def _waiting(self) -> list[_Pending]:
        """All that waits, as soon as something does; [] when the journal closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            group, self._pending = self._pending, []
            self._pending_bytes = 0
            self._next += len(group)
            return group

    def _commit(self, group: list[_Pending]) -> None:
        if self._file.tell() >= self._segment_bytes:
            self._begin_segment()
        self._file.write(b"".join(pending.record for pending in group))
        self._file.flush()
        os.fsync(self._file.fileno())
        with self._changed:
            first, self.synced = self.synced, self._next
            self._changed.notify_all()
        for number, pending in enumerate(group):
            pending.future.set_result(first + number)

    def _begin_segment(self) -> None:
        """The next segment; without a free descriptor the one in hand grows on, and the next group tries again."""
        try:
            fresh = self._open_segment(self.synced)
        except OSError as error:
            if not short_of_descriptors(error):
                raise
            return
        self._file.close()
        self._file = fresh

    def _fail(self, error: JournalError, group: list[_Pending]) -> None:
        with self._changed:
            self._error = error
            waiting = group + self._pending
            self._pending = []
            self._changed.notify_all()
        for pending in waiting:
            if not pending.future.done():
                pending.future.set_exception(error)

    @property
    def end(self) -> int:
        """The offset of the next record to be appended, on disk or on its way there."""
        with self._changed:
            return self._next + len(self._pending)

    @property
    def error(self) -> JournalError | None:
        """Why nothing can be appended any more, if so."""
        return self._error

    @property
    def clock_fault(self) -> str:
        """What is wrong with the clock, if so."""
        ahead_ns = self._stamps.ahead_ns
        if ahead_ns < AHEAD_LOGGED_NS:
            return ""
        return f"the clock was ahead and has been set back: Vigil's time is still {ahead_ns / NS_PER_MIN:.0f} min ahead and slowly falls back to it"

    @property
    def damage(self) -> str:
        """What was found damaged and set aside, if anything."""
        if not self.damaged:
            return ""
        return f"damaged records were set aside as {', '.join(self.damaged)} in the journal folder: check the disk, then move them away"

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
            yield from reader.read_batch()

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

    def resume_from(self, offset: int) -> None:
        """Number the next record `offset`, beyond the end: a snapshot covers records that the files have lost.

        Before anything is appended. What is left is older than the snapshot, and dropped.
        """
        with self._changed:
            self._file.close()
            self._file = self._open_segment(offset)
            self._next = self.synced = offset
        self.drop_before(offset)

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
        path = self._path(start)
        is_new = not path.exists()
        file = path.open("ab")
        try:
            _sync_folder(self.folder)
        except OSError:
            file.close()
            if is_new:
                path.unlink()  # or its name would say that it holds what is written elsewhere
            raise
        return file

    def _recover(self) -> None:
        """Find the end. A record that was being written when the power went is cut off; damage is set aside, never lost."""
        starts = self._starts()
        if not starts:
            return
        self.first_offset = starts[0]
        number = starts[-1]
        with self._path(number).open("r+b") as file:
            end = 0
            while (entry := read_one(file, number)) is not None:
                number, end = number + 1, file.tell()
                self._stamps.at(entry.arrival_ns)
            file.seek(end)
            rest = file.read()
            if not is_torn(rest):
                _write_whole(self.folder / f"{number:016d}-{zlib.crc32(rest):08x}.damaged", rest)
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())
        if number == starts[-1] and len(starts) > 1:
            for entry in entries(self._path(starts[-2]), starts[-2]):
                self._stamps.at(entry.arrival_ns)
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

    def read_batch(self) -> Iterator[Entry]:
        """Records from here up to what is synced when asked; the place moves with each."""
        while self.offset < self._journal.synced:
            file = self._file if self._file is not None else self._open()
            entry = read_one(file, self.offset)
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
            if read_one(file, number) is None:
                raise JournalError(
                    f"record {number} of the journal is damaged: restore from a backup, or move the journal away and start cold"
                )
        return file


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_whole(path: Path, data: bytes) -> None:
    """All of it or nothing, whenever the power goes."""
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _identity(folder: Path) -> int:
    """The number of the journal in `folder`, drawn when it is new."""
    path = folder / "id"
    if not path.exists():
        _write_whole(path, str(IDENTITY_MIN + secrets.randbelow(9 * IDENTITY_MIN)).encode())
    return int(path.read_bytes())
