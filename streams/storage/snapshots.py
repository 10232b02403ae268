"""Snapshots of partitions in a place that every worker sees: atomic, never overwritten, fenced against late writers."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

log = structlog.get_logger("vigil.snapshots")

KEPT: Final = 3
"""Snapshots of a partition that are kept: the newest may be damaged, or of a newer Vigil than the one that reads."""
_DIGEST: Final = 32
_SUFFIX: Final = ".snap"
_MARK: Final = "mark"


class Snapshot(NamedTuple):
    """State that covers every record before `next_offset`.

    `epoch` rises every time the partition is assigned. Of two writers the one with the higher epoch is the owner, whatever the
    other one (paused, cut off, thought dead) may still write later.
    """

    epoch: int
    next_offset: int
    state: bytes


class SnapshotStore(Protocol):
    """Where snapshots are kept. Every method blocks; OSError when the place refuses."""

    def put(self, partition: int, snapshot: Snapshot) -> None:
        """Store durably, all or nothing; drop what is older than the newest KEPT."""

    def newest_first(self, partition: int) -> Iterator[Snapshot]:
        """Whole snapshots by (epoch, next_offset), the owner's newest first; damaged ones are left out."""

    def newest_epoch(self, partition: int) -> int:
        """The highest epoch ever stored and kept, 0 when there is none."""

    def set_note(self, partition: int, text: str | None) -> None:
        """Keep a short note about the partition across a crash; None forgets it."""

    def note(self, partition: int) -> str | None:
        """The note, if there is one."""


class NamedStore(ABC):
    """A SnapshotStore over any place that keeps bytes under `<partition>/<name>`: names, checksums, order and retention.

    A snapshot's name is `<epoch>-<next_offset>.snap`; its bytes are the SHA-256 of the state, then the state.
    """

    def put(self, partition: int, snapshot: Snapshot) -> None:
        """See SnapshotStore. A crash leaves the old ones or the new one, never half."""
        name = f"{snapshot.epoch:010d}-{snapshot.next_offset:016d}{_SUFFIX}"
        self._write(partition, name, hashlib.sha256(snapshot.state).digest() + snapshot.state)
        try:
            for old in self._newest_first(partition)[KEPT:]:
                self._delete(partition, old)
        except OSError as error:  # this snapshot is stored all the same
            log.warning("old snapshots not dropped", partition=partition, why=error.strerror or str(error))

    def newest_first(self, partition: int) -> Iterator[Snapshot]:
        """See SnapshotStore."""
        for name in self._newest_first(partition):
            raw = self._read(partition, name)
            if raw is None:  # dropped by its owner meanwhile
                continue
            state = raw[_DIGEST:]
            if hashlib.sha256(state).digest() == raw[:_DIGEST]:
                yield Snapshot(*_parsed(name), state)
            else:
                log.error("damaged snapshot ignored", partition=partition, name=name)

    def newest_epoch(self, partition: int) -> int:
        """See SnapshotStore."""
        return max((_parsed(name)[0] for name in self._newest_first(partition)), default=0)

    def set_note(self, partition: int, text: str | None) -> None:
        """See SnapshotStore."""
        if text is None:
            self._delete(partition, _MARK)
        else:
            self._write(partition, _MARK, text.encode())

    def note(self, partition: int) -> str | None:
        """See SnapshotStore."""
        raw = self._read(partition, _MARK)
        return None if raw is None else raw.decode("utf-8", "replace")

    def _newest_first(self, partition: int) -> list[str]:
        return sorted((name for name in self._names(partition) if name.endswith(_SUFFIX)), key=_parsed, reverse=True)

    @abstractmethod
    def _names(self, partition: int) -> list[str]:
        """Names under the partition, in any order."""

    @abstractmethod
    def _read(self, partition: int, name: str) -> bytes | None:
        """The bytes, None when there is no such name."""

    @abstractmethod
    def _write(self, partition: int, name: str, data: bytes) -> None:
        """All or nothing, and durable."""

    @abstractmethod
    def _delete(self, partition: int, name: str) -> None:
        """Nothing when there is no such name."""


class DirectoryStore(NamedStore):
    """A folder, on a disk or a file system that the workers share: `<partition>/<epoch>-<next_offset>.snap`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def _folder(self, partition: int) -> Path:
        return self.root / f"{partition:05d}"

    def _names(self, partition: int) -> list[str]:
        return [path.name for path in self._folder(partition).glob(f"*{_SUFFIX}")]

    def _read(self, partition: int, name: str) -> bytes | None:
        try:
            return (self._folder(partition) / name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, partition: int, name: str, data: bytes) -> None:
        folder = self._folder(partition)
        folder.mkdir(exist_ok=True)
        # Two writers of one name must not share a draft: each writes its own and the last rename wins with the same content.
        draft = folder / f"{name}.{os.getpid()}.tmp"
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(folder / name)
        except OSError:
            draft.unlink(missing_ok=True)  # on a full disk half a draft would keep it full
            raise
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _delete(self, partition: int, name: str) -> None:
        (self._folder(partition) / name).unlink(missing_ok=True)


def _parsed(name: str) -> tuple[int, int]:
    """Epoch and next offset."""
    epoch, next_offset = name.removesuffix(_SUFFIX).split("-")
    return int(epoch), int(next_offset)
