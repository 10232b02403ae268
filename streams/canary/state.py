"""What the canary keeps over a restart, and how a person on its machine speaks to it when Kafka is away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from alerts.model import Command

_STATE: Final = "state"
_INBOX: Final = "commands"


class Kept(msgspec.Struct, array_like=True):
    """The watch's snapshot, and the next offsets of the topics it listens to, by topic and partition."""

    watch: bytes
    positions: dict[str, dict[int, int]]


class Folder:
    """The canary's folder. `spool` below it belongs to the deliveries. OSError when it cannot be made."""

    def __init__(self, path: Path) -> None:
        self.spool = path / "spool"
        self._path = path
        (path / _INBOX).mkdir(parents=True, exist_ok=True)

    def load(self) -> Kept | None:
        """What was kept; None at the first start. ValueError when the file is damaged."""
        try:
            return msgspec.msgpack.decode((self._path / _STATE).read_bytes(), type=Kept)
        except FileNotFoundError:
            return None

    def save(self, kept: Kept) -> None:
        """In one piece, or not at all. OSError when the disk refuses."""
        _write(self._path / _STATE, msgspec.msgpack.encode(kept))

    def say(self, command: Command) -> None:
        """Leave a command for the running canary."""
        _write(self._path / _INBOX / f"{command.id}.json", msgspec.json.encode(command))

    def said(self) -> list[tuple[Path, Command | None]]:
        """Commands that were left, oldest first; None for a file that is none."""
        found: list[tuple[Path, Command | None]] = []
        for path in sorted((self._path / _INBOX).glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                found.append((path, msgspec.json.decode(path.read_bytes(), type=Command)))
            except msgspec.DecodeError:
                found.append((path, None))
        return found


def _write(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
