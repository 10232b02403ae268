"""Snapshots of the core: one atomic file each, named by the offset it covers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple

KEPT: Final = 3
_DIGEST: Final = 32


class Snapshot(NamedTuple):
    """State that covers every record before `next_offset`."""

    next_offset: int
    state: bytes


class SnapshotFolder:
    """A folder of snapshots; the newest whole one counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, snapshot: Snapshot) -> None:
        """Write, sync, rename: a crash leaves the old ones or the new one, never half. OSError when the disk refuses."""
        path = self.folder / f"{snapshot.next_offset:016d}.snap"
        draft = path.with_suffix(".tmp")
        with draft.open("wb") as file:
            file.write(hashlib.sha256(snapshot.state).digest() + snapshot.state)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        for old in self._paths()[KEPT:]:
            old.unlink()

    def newest_first(self) -> list[Snapshot]:
        """Whole snapshots, newest first; damaged ones are passed over."""
        found = []
        for path in self._paths():
            raw = path.read_bytes()
            if hashlib.sha256(raw[_DIGEST:]).digest() == raw[:_DIGEST]:
                found.append(Snapshot(int(path.stem), raw[_DIGEST:]))
        return found

    def oldest_offset(self) -> int:
        """Up to where the journal may be cut: the oldest kept snapshot."""
        paths = self._paths()
        return int(paths[-1].stem) if paths else 0

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.snap"), reverse=True)
