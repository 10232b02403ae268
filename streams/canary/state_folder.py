"""The canary's folder: its state across restarts, and commands that staff give on its machine while Kafka is away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from alerts.model import Command

_STATE: Final = "state"
_INBOX: Final = "commands"


class SavedState(msgspec.Struct, array_like=True):
    """The monitor's snapshot, and the next offsets of the topics that are read, by topic and partition."""

    monitor: bytes
    positions: dict[str, dict[int, int]]


class StateFolder:
    """The canary's folder. `spool` below it belongs to the deliveries. OSError when it cannot be made."""

    def __init__(self, path: Path) -> None:
        self.spool = path / "spool"
        self._path = path
        (path / _INBOX).mkdir(parents=True, exist_ok=True)

    def load(self) -> SavedState | None:
        """The saved state; None at the first start. ValueError when the file is damaged."""
        try:
            return msgspec.msgpack.decode((self._path / _STATE).read_bytes(), type=SavedState)
        except FileNotFoundError:
            return None

    def save(self, saved: SavedState) -> None:
        """Replace the saved state atomically. OSError when the disk refuses."""
        _write(self._path / _STATE, msgspec.msgpack.encode(saved))

    def leave_command(self, command: Command) -> None:
        """Leave a command for the running canary."""
        _write(self._path / _INBOX / f"{command.id}.json", msgspec.json.encode(command))

    def left_commands(self) -> list[tuple[Path, Command | None]]:
        """Commands that were left, oldest first; None for a file that is not a command."""
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
