"""The spool of an ingest process: messages are on disk before they are acknowledged, and stay there until Kafka has stored them.

A journal (that of the embedded Vigil) with a size limit, and the position up to which Kafka has stored it. Every message goes through
it, also while Kafka is up: one path, one order, one thing to test (docs/decisions/0110).
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
"""Space is freed by whole segments: a small spool needs small ones."""


class SpooledMessage(msgspec.Struct, array_like=True, frozen=True):
    """A wire message in the spool: its sender, its Idempotency-Key ("" without), its bytes; how a broker handed it over, as in
    `streams.pipeline.handovers.Handover`."""

    name: str
    wards: tuple[str, ...] | None
    key: str
    payload: bytes
    retained: bool = False
    again: bool = False
    packet: int = 0

    @property
    def sender(self) -> Sender:
        """Who sent it."""
        return Sender(self.name, self.wards)


class IngestSpool:
    """Messages in order, and the position up to which Kafka has stored them. `clock` as in Journal."""

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
        self._position_file = folder / "published"
        self.position = self._saved_position()
        self.size = 0
        self.measure()

    def _saved_position(self) -> int:
        """The position to go on from. If its file is lost, the rest of the journal is published again and deduplicated downstream."""
        journal = self.journal
        try:
            saved = int(self._position_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return journal.first_offset
        if saved > journal.synced:
            log.error("spool lost records that Kafka has stored", end=journal.synced, continues_at=saved)
            journal.resume_from(saved)
        return max(saved, journal.first_offset)

    @property
    def full(self) -> bool:
        """Whether the spool is at its size limit: senders are asked to wait."""
        return self.size >= self._bytes_max

    @property
    def waiting(self) -> int:
        """Messages that Kafka has not stored yet."""
        return self.journal.synced - self.position

    def put(self, message: SpooledMessage, arrival_ns: int | None = None) -> Future[int]:
        """Store a message; the future gives its offset once it is on disk. JournalBusy when the spool is full, JournalError when the disk refuses."""
        if self.full:
            future: Future[int] = new_future()
            future.set_exception(JournalBusy("the spool is full because Kafka is away: keep your data and send it again later"))
            return future
        return self.journal.append(Topic.TELEMETRY, msgspec.msgpack.encode(message), arrival_ns)

    def measure(self) -> None:
        """Update `size` from the files on disk."""
        size = 0
        for path in self.journal.folder.glob("*.log"):
            with contextlib.suppress(FileNotFoundError):  # freed meanwhile
                size += path.stat().st_size
        self.size = size

    def mark_published(self, position: int) -> None:
        """Save that Kafka has stored everything before `position`, and free the space. OSError when the disk refuses."""
        draft = self._position_file.with_suffix(".tmp")
        with draft.open("w", encoding="ascii") as file:
            file.write(str(position))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._position_file)
        self.position = position
        self.journal.drop_before(position)
        self.measure()

    def close(self) -> None:
        """Sync and stop."""
        self.journal.close()
        os.close(self._lock)
