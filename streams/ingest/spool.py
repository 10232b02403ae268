"""The spool: what came through the doors, on disk before it is acknowledged, until Kafka has it.

A journal (the embedded Vigil's) with a bound, and a note of how far Kafka has it. Everything goes through it, also while Kafka
answers: so there is one path, one order, and one thing to test (docs/decisions/0110).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import msgspec
import structlog

from streams.ingest.senders import Sender
from streams.storage.journal import Journal, JournalBusy, new_future
from streams.storage.journal_records import Topic

log = structlog.get_logger("vigil.ingest")

SEGMENT_BYTES_MAX: Final = 16 * 2**20
SEGMENTS_A_SPOOL: Final = 8
"""Whole segments are freed: a small spool needs small ones."""


class Message(msgspec.Struct, array_like=True, frozen=True):
    """A wire message as it is kept: who sent it, the key that makes sending it again harmless ("" none), its bytes."""

    name: str
    wards: tuple[str, ...] | None
    key: str
    payload: bytes

    @property
    def sender(self) -> Sender:
        """Who sent it."""
        return Sender(self.name, self.wards)


class Spool:
    """Messages in, in order, and the place up to which they are in Kafka. `clock` as in Journal."""

    def __init__(self, folder: Path, clock: Callable[[], int] | None, bytes_max: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OSError(f"the spool {folder.name} is used by another process: give each ingest its own folder") from error
        self.journal = Journal(folder, clock, segment_bytes=min(SEGMENT_BYTES_MAX, bytes_max // SEGMENTS_A_SPOOL))
        self._bytes_max = bytes_max
        self._note = folder / "published"
        self.position = self._noted()
        self.size = 0
        self.measure()

    def _noted(self) -> int:
        """Where to go on. Losing the note repeats what is left of the journal: it is recognised downstream as repeated."""
        journal = self.journal
        try:
            noted = int(self._note.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return journal.first_offset
        if noted > journal.synced:
            log.error("the spool lost records that Kafka already has", end=journal.synced, goes_on_from=noted)
            journal.resume_from(noted)
        return max(noted, journal.first_offset)

    @property
    def full(self) -> bool:
        """Whether senders have to wait."""
        return self.size >= self._bytes_max

    @property
    def waiting(self) -> int:
        """Messages on disk that Kafka does not have yet."""
        return self.journal.synced - self.position

    def put(self, message: Message, arrival_ns: int | None = None) -> Future[int]:
        """Keep a message; the future gives its number once it is on disk. JournalBusy when it is full, JournalError when it cannot be written."""
        if self.full:
            future: Future[int] = new_future()
            future.set_exception(JournalBusy("the spool is full because Kafka is away: keep your data and send it again later"))
            return future
        return self.journal.append(Topic.TELEMETRY, msgspec.msgpack.encode(message), arrival_ns)

    def measure(self) -> None:
        """Look how much disk it takes."""
        size = 0
        for path in self.journal.folder.glob("*.log"):
            with contextlib.suppress(FileNotFoundError):  # freed meanwhile
                size += path.stat().st_size
        self.size = size

    def published(self, position: int) -> None:
        """Kafka has everything before `position`: note it on disk and free the space. OSError when the disk refuses."""
        draft = self._note.with_suffix(".tmp")
        with draft.open("w", encoding="ascii") as file:
            file.write(str(position))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._note)
        self.position = position
        self.journal.drop_before(position)
        self.measure()

    def close(self) -> None:
        """Sync and stop."""
        self.journal.close()
        os.close(self._lock)
