"""Snapshots of partitions in a place that every worker sees: atomic, never overwritten, fenced against late writers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

KEPT: Final = 3
"""Snapshots of a partition that are kept: the newest may be damaged, or of a newer Vigil than the one that reads."""
_DIGEST: Final = 32


class Snapshot(NamedTuple):
    """State that covers every record before `next_offset`.

    `epoch` rises with every taking over of the partition. Of two writers the one with the higher epoch is the owner, whatever the
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
        """Whole snapshots by (epoch, next_offset), the owner's newest first; damaged ones are passed over."""

    def newest_epoch(self, partition: int) -> int:
        """The highest epoch ever stored and kept, 0 when there is none."""

    def mark(self, partition: int, text: str | None) -> None:
        """Keep a short note about the partition across a crash; None forgets it."""

    def marked(self, partition: int) -> str | None:
        """The note, if there is one."""


class DirectoryStore:
    """A folder, on a disk or a file system that the workers share: `<partition>/<epoch>-<next_offset>.snap`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def put(self, partition: int, snapshot: Snapshot) -> None:
        """See SnapshotStore. A crash leaves the old ones or the new one, never half."""
        folder = self._folder(partition)
        folder.mkdir(exist_ok=True)
        name = f"{snapshot.epoch:010d}-{snapshot.next_offset:016d}"
        # Two writers of one name must not share a draft: each writes its own and the last rename wins with the same content.
        _write(folder / f"{name}.{os.getpid()}.tmp", folder / f"{name}.snap", hashlib.sha256(snapshot.state).digest() + snapshot.state)
        for old in self._paths(partition)[KEPT:]:
            old.unlink(missing_ok=True)

    def newest_first(self, partition: int) -> Iterator[Snapshot]:
        """See SnapshotStore."""
        for path in self._paths(partition):
            try:
                raw = path.read_bytes()
            except FileNotFoundError:  # dropped by its owner meanwhile
                continue
            if hashlib.sha256(raw[_DIGEST:]).digest() == raw[:_DIGEST]:
                epoch, next_offset = path.stem.split("-")
                yield Snapshot(int(epoch), int(next_offset), raw[_DIGEST:])

    def newest_epoch(self, partition: int) -> int:
        """See SnapshotStore."""
        paths = self._paths(partition)
        return int(paths[0].stem.split("-")[0]) if paths else 0

    def mark(self, partition: int, text: str | None) -> None:
        """See SnapshotStore."""
        folder = self._folder(partition)
        path = folder / "mark"
        if text is None:
            path.unlink(missing_ok=True)
            return
        folder.mkdir(exist_ok=True)
        _write(folder / f"mark.{os.getpid()}.tmp", path, text.encode())

    def marked(self, partition: int) -> str | None:
        """See SnapshotStore."""
        try:
            return (self._folder(partition) / "mark").read_text()
        except FileNotFoundError:
            return None

    def _folder(self, partition: int) -> Path:
        return self.root / f"{partition:05d}"

    def _paths(self, partition: int) -> list[Path]:
        return sorted(self._folder(partition).glob("*.snap"), reverse=True)


def _write(draft: Path, path: Path, data: bytes) -> None:
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
