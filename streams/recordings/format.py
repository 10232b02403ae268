"""Recordings: what was received, byte for byte, with who was who and what was true.

A recording is a folder `<name>.vigil/`:
    meta.json       format version, name, source, licence, notes, whether it is labelled
    registry.json   engine.registry.RegistryData
    frames.parquet  columns arrival_ns int64, payload binary (a wire payload: JSON chunk(s) or a binary ward batch), zstd;
                    of a journal also retained bool (an MQTT broker had kept the message)
    truth.jsonl     one Truth a line
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pyarrow import parquet

from engine.block import Block
from engine.frame import NS_PER_S
from engine.kinds import KINDS, MISSING_MAP
from engine.registry import Binding, RegistryData
from schemas.encode import batches, encode_wire
from schemas.grouping import grouped
from schemas.recording import START_NS, Meta, Record, Recording, Truth

FORMAT_VERSION: Final = 1
"""`Meta.version` of the folders this module writes and reads."""

_SCHEMA: Final = pa.schema([("arrival_ns", pa.int64()), ("payload", pa.binary())])
_MARKED_SCHEMA: Final = _SCHEMA.append(pa.field("retained", pa.bool_()))
"""Of a recording from a journal: what a broker had kept is marked."""
_GROUP_BYTES: Final = 16 * 1024 * 1024
_GROUP_ROWS: Final = 4096
"""A row group ends at either: what a reader or a live writer holds in memory."""

T = TypeVar("T")


class RecordingError(ValueError):
    """A recording that cannot be read or written: one sentence on what is wrong with it."""


class Writer:
    """Writes a recording record by record, in order of arrival: `with Writer(path, meta, registry) as writer: writer.append(record)`.

    The folder is made, or taken when it is empty. `frames.parquet` gets its name when the writer closes without an error; until
    then the data is in `frames.parquet.part`. `marked`: with the marks of messages that a broker had kept.
    """

    def __init__(
        self, path: Path, meta: Meta, registry: RegistryData | None = None, truth: Iterable[Truth] = (), *, marked: bool = False
    ) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RecordingError(f"{path} exists already: choose another name, or remove it first")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._rows: list[Record] = []
        self._bytes = 0
        self._last_ns = 0
        self.records = 0
        (path / "meta.json").write_bytes(msgspec.json.format(msgspec.json.encode(meta)) + b"\n")
        (path / "registry.json").write_bytes(msgspec.json.format(msgspec.json.encode(registry or RegistryData())) + b"\n")
        (path / "truth.jsonl").write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in truth))
        self._schema = _MARKED_SCHEMA if marked else _SCHEMA
        self._file = parquet.ParquetWriter(path / "frames.parquet.part", self._schema, compression="zstd", use_dictionary=False)

    def append(self, record: Record) -> None:
        """Add one record; RecordingError when it arrived before the one before it."""
        if record.arrival_ns < self._last_ns:
            raise RecordingError(f"record {self.records} arrived at {record.arrival_ns}, before its predecessor at {self._last_ns}")
        self._last_ns = record.arrival_ns
        self._rows.append(record)
        self._bytes += len(record.payload)
        self.records += 1
        if self._bytes >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = [pa.array(column, field.type) for column, field in zip(zip(*self._rows, strict=True), self._schema, strict=False)]
            self._file.write_table(pa.table(columns, schema=self._schema))
        self._rows = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._flush()
        self._file.close()
        if kind is None:
            (self.path / "frames.parquet.part").rename(self.path / "frames.parquet")


def write(path: Path, recording: Recording) -> None:
    """Write `recording` as folder `path`; RecordingError when something is there already."""
    with Writer(path, recording.meta, recording.registry, recording.truth) as writer:
        for record in recording.records:
            writer.append(record)


def count(path: Path) -> int:
    """How many records the recording at `path` holds; RecordingError as `read`."""
    with _opened(path / "frames.parquet") as file:
        return int(file.metadata.num_rows)


def read(path: Path) -> Recording:
    """The recording in folder `path`; its records are read as they are asked for, one row group in memory at a time.

    RecordingError (also from the iterator) when a part is missing or is not what it should be.
    """
    if not path.is_dir():
        raise RecordingError(
            f"{path} is no recording: a recording is a folder with meta.json, registry.json, frames.parquet and truth.jsonl"
        )
    meta = _load(path / "meta.json", Meta)
    if meta.version != FORMAT_VERSION:
        raise RecordingError(f"{path} has format version {meta.version}, this Vigil reads version {FORMAT_VERSION}")
    registry = _load(path / "registry.json", RegistryData)
    truth = []
    for number, line in enumerate(_bytes(path / "truth.jsonl").splitlines(), 1):
        try:
            truth.append(msgspec.json.decode(line, type=Truth))
        except msgspec.DecodeError as error:
            raise RecordingError(f"{path / 'truth.jsonl'} line {number} is not a truth: {error}") from error
    return Recording(meta, registry, tuple(truth), _records(_opened(path / "frames.parquet")))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error


def _load(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(_bytes(path), type=kind)
    except msgspec.DecodeError as error:
        raise RecordingError(f"{path} is not what a recording needs there: {error}") from error


def _opened(path: Path) -> Any:
    try:
        file = parquet.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise RecordingError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if not (file.schema_arrow.equals(_SCHEMA) or file.schema_arrow.equals(_MARKED_SCHEMA)):
        raise RecordingError(
            f"{path} must have the columns arrival_ns int64 and payload binary, it has {', '.join(map(str, file.schema_arrow))}"
        )
    return file


def _records(file: Any) -> Iterator[Record]:
    last_ns = 0
    for group in range(file.num_row_groups):
        try:
            table = file.read_row_group(group)
        except (OSError, pa.ArrowInvalid) as error:
            raise RecordingError(f"row group {group} of the recording is damaged: {str(error).splitlines()[0]}") from error
        marks = table[2].to_pylist() if table.num_columns == len(_MARKED_SCHEMA) else [False] * table.num_rows
        for arrival_ns, payload, retained in zip(table[0].to_pylist(), table[1].to_pylist(), marks, strict=True):
            if arrival_ns is None or payload is None or arrival_ns < last_ns:
                raise RecordingError(f"a record of row group {group} has no payload, or arrived before its predecessor")
            last_ns = arrival_ns
            yield Record(arrival_ns, payload, bool(retained))


class _Form(NamedTuple):
    """What chunks must share to travel in one block."""

    kind: str
    rate_hz: float
    n: int
    shape: tuple[int, int]
    unit: str
    dtype: str


class _Part(NamedTuple):
    """Equally long chunks of one `add`: `end_ns` (k,) is when the last sample of each was measured."""

    form: _Form
    device: str
    t0_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    seq: NDArray[np.int64]
    quality: int
    samples: NDArray[Any]


class Builder:
    """Makes a Recording from signals: cut into chunks, sent as binary ward batches, one a second, in order of arrival.

        builder = Builder("sisfall/SA01_D01_R01", "SisFall, doi:10.3390/s17010198")
        builder.bind("belt", "resident/SA01", "waist")
        builder.add("belt", "accel", builder.start_ns, 50.0, signal_g)
        builder.truth("resident/SA01", "falls.fall", builder.start_ns + 9_000_000_000, builder.start_ns + 10_000_000_000)
        recording = builder.build()

    All times are UTC nanoseconds, none before `start_ns`. A chunk arrives when its last sample has been measured.
    """

    def __init__(
        self,
        name: str,
        source: str,
        *,
        ward: str = "home/ward",
        start_ns: int = START_NS,
        licence: str = "",
        notes: str = "",
        labelled: bool | None = None,
    ):
        self.meta = Meta(name, source, licence=licence, notes=notes, labelled=labelled)
        self.ward = ward
        self.start_ns = start_ns
        self._bindings: list[Binding] = []
        self._truth: list[Truth] = []
        self._parts: list[_Part] = []
        self._next_seq: dict[tuple[str, str], int] = {}

    def bind(self, device: str, subject: str, site: str = "") -> None:
        """`device` reports about `subject` ("resident/<id>", "bed/<id>", "room/<id>") for the whole recording."""
        self._bindings.append(Binding(device, subject, self.ward, site))

    def bound(self, device: str) -> bool:
        """Whether `device` is bound already: binding it again would make a registry that nobody accepts."""
        return any(binding.device == device for binding in self._bindings)

    def truth(self, subject: str, code: str, start_ns: int, end_ns: int, note: str = "") -> None:
        """Say that `code` really held for `subject` from `start_ns` to `end_ns`."""
        if end_ns < start_ns:
            raise ValueError(f"truth {code} of {subject} ends {(start_ns - end_ns) / NS_PER_S:g} s before it starts")
        self._truth.append(Truth(subject, code, start_ns, end_ns, note))

    def add(
        self,
        device: str,
        kind: str,
        t0_ns: int,
        rate_hz: float,
        samples: ArrayLike,
        *,
        unit: str = "",
        chunk_s: float = 1.0,
        quality: int = 0,
        shape: tuple[int, int] | None = None,
    ) -> None:
        """Append a signal of `device`: samples (n, c), or (n,) for one channel; the first one measured at `t0_ns`.

        `unit` is one of the kind's wire units ("" the canonical one). NaN means missing; infinity and impossible values
        are passed on as they are, for the codec to refuse. A pressure map is (n, rows, cols), or (n, rows*cols) with
        `shape`. Kinds without a rate take rate_hz 0: an irregular kind makes one chunk at `t0_ns`; rr_interval is cut
        where its durations fill `chunk_s`. Chunks are numbered on from earlier calls for the same device and kind.

        ValueError for an unknown kind, a time before `start_ns`, or samples of the wrong shape.
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is unknown; known are {', '.join(KINDS)}")
        if t0_ns < self.start_ns:
            raise ValueError(f"t0_ns {t0_ns} of {device} is before the recording's start_ns {self.start_ns}: times are absolute UTC")
        rule = KINDS[kind]
        values = np.asarray(samples)
        if values.ndim == 3:
            shape = (values.shape[1], values.shape[2])
            values = values.reshape(len(values), -1)
        elif values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or not values.size:
            raise ValueError(f"samples of {device} must be (n, channels) with at least one value, got {np.shape(samples)}")
        grid = rule.dtype is np.uint16
        if grid and (shape is None or shape[0] * shape[1] != values.shape[1]):
            raise ValueError(f"pressure_map of {device} needs shape=(rows, cols) with rows*cols = {values.shape[1]}, got {shape}")
        if values.dtype.name not in {"float32", "uint8", "uint16", "int16"}:
            values = _narrowed(values) if grid else values.astype(np.float32)
        factor = rule.units.get(unit, 1.0)  # an unknown unit is for the codec to refuse
        for part, ends in _cut(rule.timing, values, t0_ns, rate_hz, chunk_s, rule.samples_max, factor):
            k, n, c = part.shape
            first = self._next_seq.get((device, kind), 0)
            self._next_seq[device, kind] = first + k
            form = _Form(kind, float(rate_hz), n, shape if grid and shape else (1, c), unit, part.dtype.name)
            seq = np.arange(first, first + k, dtype=np.int64)
            self._parts.append(_Part(form, device, ends[:, 0], ends[:, 1], seq, quality, part))

    def build(self) -> Recording:
        """The recording; its records are made as they are read, so hours of signal cost no second copy."""
        registry = RegistryData(bindings=tuple(self._bindings))
        truth = tuple(sorted(self._truth, key=lambda t: (t.start_ns, t.code, t.subject)))
        return Recording(self.meta, registry, truth, self._records())

    def _records(self) -> Iterator[Record]:
        if not self._parts:
            return
        part = np.concatenate([np.full(len(p.end_ns), i) for i, p in enumerate(self._parts)])
        row = np.concatenate([np.arange(len(p.end_ns)) for p in self._parts])
        end_ns = np.concatenate([p.end_ns for p in self._parts])
        order = np.argsort(end_ns, kind="stable")
        second = -(-end_ns[order] // NS_PER_S)
        edges = np.flatnonzero(np.diff(second)) + 1
        number = 0
        for chosen in np.split(order, edges):
            arrival_ns = int(end_ns[chosen[-1]])
            for wires in batches(self._blocks(part[chosen], row[chosen])):
                yield Record(arrival_ns, encode_wire(self.ward, wires, seq=number, sent_ns=arrival_ns))
                number += 1

    def _blocks(self, part: NDArray[Any], row: NDArray[Any]) -> Iterator[tuple[Block, str]]:
        chunks = [(self._parts[i], j) for i, j in zip(part.tolist(), row.tolist(), strict=True)]
        for group in grouped((p.form, (p.device, p.form.kind)) for p, _ in chunks):
            members = [chunks[i] for i in group]
            form = members[0][0].form
            yield (
                Block(
                    kind=form.kind,
                    devices=tuple(p.device for p, _ in members),
                    t0_ns=np.array([p.t0_ns[j] for p, j in members], np.int64),
                    seq=np.array([p.seq[j] for p, j in members], np.int64),
                    rate_hz=form.rate_hz,
                    samples=np.stack([p.samples[j] for p, j in members]),
                    quality=np.array([p.quality for p, _ in members], np.uint8),
                    shape=form.shape,
                ),
                form.unit,
            )


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """Pressure cells as uint16 with missing ones marked; left as float32 where a cell cannot be one (the codec refuses it)."""
    cells = np.where(np.isnan(values), MISSING_MAP, values) if values.dtype.kind == "f" else values
    if cells.min() < 0 or cells.max() > MISSING_MAP:
        return values.astype(np.float32)
    return np.rint(cells).astype(np.uint16)


def _cut(
    timing: str, values: NDArray[Any], t0_ns: int, rate_hz: float, chunk_s: float, samples_max: int, factor: float
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Chunks (k, n, c) of equal length with their (t0, end) in ns (k, 2); what is left over comes as a last, shorter one."""
    if timing == "irregular":
        yield values[None], np.array([[t0_ns, t0_ns]], np.int64)
    elif timing == "interval":
        lasted = np.concatenate([[0.0], np.nancumsum(values[:, 0].astype(np.float64)) * factor])
        for chosen in np.split(np.arange(len(values)), np.flatnonzero(np.diff(lasted[:-1] // (1e3 * chunk_s))) + 1):
            begin, stop = int(chosen[0]), int(chosen[-1]) + 1
            edges = [[t0_ns + round(lasted[begin] * 1e6), t0_ns + round(lasted[stop] * 1e6)]]
            yield values[None, begin:stop], np.array(edges, np.int64)
    else:
        if not rate_hz > 0:
            raise ValueError(f"this kind is sampled: rate_hz must be above 0, got {rate_hz}")
        n = min(max(1, round(rate_hz * chunk_s)), samples_max, len(values))
        whole = len(values) // n
        edges = np.rint(np.arange(whole + 1) * (n * NS_PER_S / rate_hz)).astype(np.int64) + t0_ns
        yield values[: whole * n].reshape(whole, n, -1), np.stack([edges[:-1], edges[1:]], axis=1)
        if whole * n < len(values):
            end = t0_ns + round(len(values) * NS_PER_S / rate_hz)
            yield values[None, whole * n :], np.array([[edges[-1], end]], np.int64)
