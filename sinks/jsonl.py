"""Items as JSON lines in one growing file that is set aside when it is full: for people with a text editor, and for other programs."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
from pydantic import Field

from sinks.codec import plain
from sinks.contract import SinkConfig, refusal
from sinks.declaration import Audience, Runs, SinkSpec
from sinks.items import Item, ItemKind
from sinks.outcome import ACCEPTED, Outcome, Retry, all_retry

_TAIL_BYTES: Final = 8 << 20
"""How much of the file is read back on opening to know what a crash may have left unacknowledged; more than any batch."""
_KNOWN_MAX: Final = 100_000
"""Ids remembered against repeats: more than a batch, less than 20 MB."""


class JsonlConfig(SinkConfig):
    """`<path>` grows to `file_max_bytes`, then becomes `<path>.1`, `<path>.1` becomes `<path>.2`, up to `files_max`."""

    type: Literal["jsonl"] = "jsonl"
    path: Path = Field(description="file that grows; created with its folder", examples=["/var/lib/vigil/copy"])
    kinds: frozenset[ItemKind] = Field(default=frozenset(ItemKind), description="kinds of item to write")
    file_max_bytes: int = Field(default=256 << 20, ge=1 << 10, description="bytes after which the file is set aside")
    files_max: int = Field(default=10, ge=1, le=10_000, description="files set aside that are kept; the oldest goes, and is counted")

    def for_instance(self, instance: str) -> Self:
        """The same file in a folder of its own."""
        return self.model_copy(update={"path": self.path.parent / instance / self.path.name})


class JsonlSink:
    """Appends one line an item, fsync once a batch. A torn last line is cut off on opening; ids in the tail are not written twice.

    A line is a JSON object `{"kind", "id", "body"}`: the kind of item, its id, and the fields of its body with units in their names
    (`onset_ns`: nanoseconds since 1970 UTC; missing values null; bytes base64).

    >>> from tempfile import TemporaryDirectory
    >>> from sinks.examples import item
    >>> with TemporaryDirectory() as folder:
    ...     sink = JsonlSink(JsonlConfig(path=Path(folder) / "copy.jsonl"))
    ...     sink.deliver([item(ItemKind.EVENT), item(ItemKind.EVENT)])  # a repeat is accepted and not written again
    ...     [(line["kind"], line["body"]["code"]) for line in read(Path(folder) / "copy.jsonl")]
    ...     sink.close()
    [Accepted(), Accepted()]
    [('event', 'falls.fall')]
    """

    name = "jsonl"

    def __init__(self, config: JsonlConfig) -> None:
        self.takes = config.kinds
        self.files_dropped = 0
        self._config = config
        self._file: int | None = None
        self._size = 0
        self._known: OrderedDict[str, None] = OrderedDict()

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Write what is new: one outcome an item. Either the whole batch is on disk, or nothing of it; a disk that refuses is a retry."""
        outcomes: list[Outcome] = []
        lines: dict[str, bytes] = {}
        try:
            file = self._open()
            for item in items:
                refused = refusal(item, self.takes)
                outcomes.append(refused if refused is not None else ACCEPTED)
                if refused is None and item.id not in self._known:
                    lines[item.id] = msgspec.json.encode(plain(item)) + b"\n"
            self._append(file, b"".join(lines.values()))
            for key in lines:
                self._known[key] = None
            while len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
            if self._size >= self._config.file_max_bytes:
                self._rotate()
        except OSError as error:
            self.close()
            return all_retry(Retry(f"file: {error.strerror}"), len(items))
        return outcomes

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, file: int, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(file, data[written:], self._size + written)
            os.fsync(file)
        except OSError:
            os.ftruncate(file, self._size)
            raise
        self._size += len(data)

    def _open(self) -> int:
        if self._file is None:
            path = self._config.path
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
            length = os.fstat(self._file).st_size
            start = max(0, length - _TAIL_BYTES)
            tail = os.pread(self._file, length - start, start)
            whole = tail.rfind(b"\n") + 1
            self._size = start + whole if whole or start == 0 else length
            os.ftruncate(self._file, self._size)
            first = self._aside(1)
            if length == 0 and first.exists():
                tail = first.read_bytes()[-_TAIL_BYTES:]  # a crash just after the file was set aside
                whole = len(tail)
            for line in tail[:whole].splitlines()[0 if start == 0 else 1 :]:
                self._known[_id_of(line)] = None
        return self._file

    def _rotate(self) -> None:
        self.close()
        oldest = self._aside(self._config.files_max)
        if oldest.exists():
            oldest.unlink()
            self.files_dropped += 1
        for index in range(self._config.files_max - 1, 0, -1):
            if self._aside(index).exists():
                self._aside(index).replace(self._aside(index + 1))
        self._config.path.replace(self._aside(1))

    def _aside(self, index: int) -> Path:
        return self._config.path.with_name(f"{self._config.path.name}.{index}")


class _Id(msgspec.Struct):
    id: str = ""


def _id_of(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=_Id).id
    except msgspec.DecodeError:
        return ""


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of one file as dicts (`kind`, `id`, `body`). OSError when it cannot be read, msgspec.DecodeError when a line is no JSON."""
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


SINK: Final = SinkSpec(settings=JsonlConfig, sink=JsonlSink, audience=Audience.MACHINES, runs=frozenset(Runs))
