"""A backup of a data folder beside the Vigil that runs on it, as consistent as what a power cut leaves behind, which Vigil survives.

The order makes it so. A snapshot says: what came of the records before its offset is in the spools or delivered. So snapshots are held
first; then the spools are read, of which each item is either waiting in the copy or delivered by then; then the database and everything
else that is delivered to; and the journal last, because it must have every record of which the others know something. From the snapshot on,
the journal's records are applied again on restoring, and give the same ids.
"""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

DATABASE: Final = "vigil.db"
_OWN_ORDER: Final = frozenset({"journal", "snapshots", "spool"})
_NOT_COPIED: Final = (".tmp", ".part", "lock", f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal")
"""Ends of names: drafts, locks, and what is part of the database's own backup."""
_COMPRESSED: Final = frozenset({".gz", ".bz2", ".xz"})
_TRIES: Final = 10


class BackupError(Exception):
    """The backup cannot be made; the message says why and what to do. What was there before is untouched."""


def back_up(data: Path, target: Path) -> int:
    """Write the data folder to a new tar file (compressed if its name ends in gz, bz2 or xz), readable by its owner alone; how many files.

    Unpacked anywhere, it is a data folder. BackupError, also when the disk refuses; nothing half done is left.
    """
    if not (data / "journal" / "id").exists():
        raise BackupError(f"{data} is no data folder of Vigil: it has no journal")
    if target.exists():
        raise BackupError(f"{target} exists already: choose another name")
    if target.resolve().is_relative_to(data.resolve()):
        raise BackupError(f"{target} is in the data folder itself: choose another place, best on another disk")
    part = target.with_name(f"{target.name}.part")
    mode: Any = f"w:{target.suffix[1:] if target.suffix in _COMPRESSED else ''}"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode=mode) as tar:
                count = _fill(_Archive(tar, data), data, target.parent)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise BackupError(f"the backup cannot be written: {error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return count


class _Archive:
    """A tar file that is filled with files of `data`, under the folder's name, as long as each was when it was added."""

    def __init__(self, tar: tarfile.TarFile, data: Path) -> None:
        self._tar, self._data = tar, data
        self._root = data.resolve().name or "vigil"
        self.count = 0

    def add(self, path: Path, file: BinaryIO) -> None:
        """Add an open file of the data folder; it may grow meanwhile."""
        info = self._tar.gettarinfo(arcname=f"{self._root}/{path.relative_to(self._data)}", fileobj=file)
        info.type = tarfile.REGTYPE  # each a file of its own, whatever links there are
        file.seek(0)
        self._tar.addfile(info, _Exactly(file, info.size))
        self.count += 1


class _Exactly(io.RawIOBase):
    """The first `size` bytes of a file. A file that has become shorter is filled up: a member must have the length that its head says."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        """See io.RawIOBase."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        data += bytes(wanted - len(data))
        self._left -= wanted
        return data


def _fill(archive: _Archive, data: Path, scratch: Path) -> int:
    with ExitStack() as held:
        segments = _held(held, data / "journal", "*.log")  # before the snapshots: what they need cannot be cut any more
        for path, file in _snapshots(held, data / "snapshots").items():
            archive.add(path, file)
        for path in _files(data / "spool"):
            _copy(archive, path)  # one that has gone was delivered
        if (data / DATABASE).exists():
            with TemporaryDirectory(dir=scratch, prefix=".vigil-backup-") as folder:
                _database(archive, data / DATABASE, Path(folder) / DATABASE)
        for path in sorted(data.iterdir()):
            if path.name not in _OWN_ORDER and path.name != DATABASE:
                _copy_whole(archive, path)
        for path in _files(data / "journal"):
            if path.suffix != ".log":
                _copy(archive, path)
        segments |= _held(held, data / "journal", "*.log", known=segments)
        for path, file in sorted(segments.items()):
            archive.add(path, file)
    return archive.count


def _held(stack: ExitStack, folder: Path, pattern: str, known: dict[Path, BinaryIO] | None = None) -> dict[Path, BinaryIO]:
    """The files, open: they can be read to the end even when they are deleted meanwhile."""
    found: dict[Path, BinaryIO] = {}
    for path in sorted(folder.glob(pattern)):
        if known is None or path not in known:
            try:
                found[path] = stack.enter_context(path.open("rb"))
            except FileNotFoundError:
                continue  # cut behind the oldest snapshot, a moment ago
    return found


def _snapshots(stack: ExitStack, folder: Path) -> dict[Path, BinaryIO]:
    """The snapshots and what is kept beside them. Those that are listed may be dropped for newer ones before they are open: then again."""
    for _ in range(_TRIES):
        listed = list(_files(folder))
        found: dict[Path, BinaryIO] = {}
        for path in listed:
            found |= _held(stack, path.parent, path.name)
        if len(found) == len(listed) or any(path.suffix == ".snap" for path in found):
            return found
    raise BackupError("snapshots are dropped faster than they can be read: try again, on a faster disk")


def _files(path: Path) -> Iterator[Path]:
    """The files at or below `path` that belong into a backup."""
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            yield from _files(inner)
    elif path.is_file() and not path.name.endswith(_NOT_COPIED):
        yield path


def _copy(archive: _Archive, path: Path) -> bool:
    """Add a file; False when it has gone meanwhile."""
    try:
        with path.open("rb") as file:
            archive.add(path, file)
    except FileNotFoundError:
        return False
    return True


def _copy_whole(archive: _Archive, place: Path) -> None:
    """Add the files at or below `place`. Where one has gone meanwhile, merged or rotated, what took its place is looked for."""
    done: set[Path] = set()
    for _ in range(_TRIES):
        todo = [path for path in _files(place) if path not in done]
        copied = {path for path in todo if _copy(archive, path)}
        done |= copied
        if len(copied) == len(todo):
            return
    raise BackupError(f"files in {place.name} are replaced faster than they can be read: try again, on a faster disk")


def _database(archive: _Archive, path: Path, copy: Path) -> None:
    """By SQLite's own backup, in one step: the writer is not held up, and the copy is of one moment."""
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target, pages=-1)
        (said,) = target.execute("PRAGMA quick_check").fetchone()
        if said != "ok":
            raise BackupError(f"the database is damaged ({said}): see to the disk; copy the folder by hand, it may be the last copy")
    with copy.open("rb") as file:
        archive.add(path, file)
