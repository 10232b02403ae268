"""Decodes small JSON readings of other programs into columns: thousands of records become a few blocks. No I/O, no clock.

A record is a chunk of Vigil's own format, or a reading in the form that the mapping in the settings describes. Decoding one costs a
few microseconds; the rules of the device contract are checked for whole blocks, by the code that checks HTTP and MQTT messages too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.block import NO_SEQ, Block
from engine.frame import NS_PER_S
from engine.kinds import KINDS, NO_VALUE, channel
from schemas.check import SHOWN_MAX, Raw, good_device, judge
from schemas.codec import decode
from schemas.models import NO_VALUE_TEXTS
from schemas.wire import CHUNKS_MAX, VERSION
from streams.ingest.config import ReadingsConfig

_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": NS_PER_S}

KIND_NAMES_MAX: Final = 1_000
"""Kind names that are remembered at most: a faulty program may invent new ones without end."""

Number = int | float | None
Value = Number | str | bool | dict[str, Number | str]


class NotAReadingError(ValueError):
    """A record that does not fit the mapping; the message says why."""


class Joined(NamedTuple):
    """Decoded records: valid blocks, and single messages, each with its device ("" unknown), which the core refuses or counts as duplicates."""

    blocks: list[Block]
    single: list[tuple[str, bytes]]


class Reader:
    """Decodes records by one mapping. ValueError when the mapping names a kind or channel that does not exist,
    or an interval that a kind cannot have."""

    def __init__(self, config: ReadingsConfig) -> None:
        names = ("device", "kind", "time", "value")
        given = [getattr(config, name) for name in names]
        if len(set(given)) != len(given):
            raise ValueError(f"ingest.readings: device, kind, time and value must be different fields, got {given}")
        time_type: Any = str if config.time_unit == "iso" else int | float
        fields = [("device", str), ("kind", str), ("time", time_type), ("value", Value)]
        made = msgspec.defstruct("_Mapped", fields, rename=dict(zip(names, given, strict=True)))
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(made).decode
        self._time_ns: Callable[[Any], int] = _iso_ns if config.time_unit == "iso" else _scaled(_NS[config.time_unit])
        self._no_value = config.no_value
        self._interval_s = config.interval_s
        names_given = dict.fromkeys((*config.kinds, *config.no_value, *config.interval_s))
        self._mapped_kinds: dict[str, _MappedKind] = {name: self._mapped(name, config.kinds.get(name, name)) for name in names_given}

    def join(self, records: Iterable[bytes]) -> Joined:
        """Decode `records`. Readings of one device, kind and time are joined in one chunk."""
        joined = Joined([], [])
        rows: dict[tuple[str, float], dict[tuple[str, int], list[float]]] = {}
        decode_one, time_ns, mapped_kinds = self._decode, self._time_ns, self._mapped_kinds
        for record in records:
            try:
                found = decode_one(record)
                mapped = mapped_kinds.get(found.kind) or self._new_mapped_kind(found.kind)
                key = (found.device, time_ns(found.time))
                values = mapped.values(found.value)
            except (NotAReadingError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
                _add_unmapped(record, joined)
                continue
            of_kind = rows.setdefault((mapped.kind, mapped.rate_hz), {})
            row = of_kind.get(key)
            if row is None:
                row = of_kind[key] = list(mapped.empty)
            elif any(row[column] == row[column] != NO_VALUE for column, _ in values):  # not NaN: a second value for the same time
                joined.single.append((key[0], _chunk(mapped.kind, mapped.rate_hz, key, _filled(list(mapped.empty), values))))
                continue
            _filled(row, values)
        for (kind, rate_hz), of_kind in rows.items():
            _add_block(kind, rate_hz, list(of_kind), list(of_kind.values()), joined)
        return joined

    def _new_mapped_kind(self, name: str) -> _MappedKind:
        if len(self._mapped_kinds) >= KIND_NAMES_MAX:
            raise NotAReadingError("too many kinds")
        return self._mapped_kinds.setdefault(name, self._mapped(name, name))

    def _mapped(self, name: str, text: str) -> _MappedKind:
        """What `text` stands for, with what is declared for their kind `name`; an interval may be declared for Vigil's kind instead."""
        kind, column = _kind_and_column(text)
        interval_s = self._interval_s.get(name, self._interval_s.get(kind))
        rate_hz = 0.0 if interval_s is None else _rate_hz(name, kind, interval_s)
        return _MappedKind(kind, column, rate_hz, frozenset(self._no_value.get(name, ())))


class _MappedKind:
    """Vigil's kind for a kind of the other program. `column` -1: it has several channels and the mapping names none. `rate_hz`: of its
    declared interval, 0 without one. `no_value`: numbers of the other program that stand for "no value", beside those of the contract."""

    def __init__(self, kind: str, column: int, rate_hz: float, no_value: frozenset[float]) -> None:
        self.kind = kind
        self.column = column
        self.rate_hz = rate_hz
        self._codes = no_value
        self._none = NO_VALUE if KINDS[kind].coded else np.nan
        self.columns = {entry.name: number for number, entry in enumerate(KINDS[kind].channels)}
        self.empty = [np.nan] * len(self.columns)

    def values(self, value: Value) -> Sequence[tuple[int, float]]:
        """(channel, value) of a reading; Unreadable when it does not say of which channel."""
        if isinstance(value, dict):
            try:
                return [(self.columns[name], self._number(each)) for name, each in value.items()]
            except KeyError as error:
                raise NotAReadingError(f"{self.kind} has no channel {error.args[0]}") from error
        if self.column < 0:
            raise NotAReadingError(f"{self.kind} has several channels: map its kind to one of them, or send an object")
        return ((self.column, self._number(value)),)

    def _number(self, value: Number | str) -> float:
        """A number that says "no value" as the contract's own code for it, so that it is counted like one."""
        if value is None or value in self._codes:
            return self._none
        if isinstance(value, str):
            if value not in NO_VALUE_TEXTS:
                raise NotAReadingError(f"{value[:SHOWN_MAX]!r} is neither a number nor a text for no value")
            return self._none
        return float(value)


def _kind_and_column(text: str) -> tuple[str, int]:
    """NotAReadingError when there is no such kind, or no such channel of it."""
    name, _, part = text.partition(".")
    kind = KINDS.get(name)
    if kind is None or not kind.channels or kind.timing == "interval":
        raise NotAReadingError(f"there is no kind {name!r} of single readings")
    try:
        column = channel(name, part) if part else 0 if len(kind.channels) == 1 else -1
    except KeyError as error:
        raise NotAReadingError(str(error.args[0])) from error
    return name, column


def _rate_hz(name: str, kind: str, interval_s: float) -> float:
    """The rate of readings `interval_s` apart; ValueError when the kind cannot have it."""
    rule = KINDS[kind]
    if rule.timing != "regular":
        raise ValueError(f"ingest.readings.interval_s: readings of {name} ({kind}) are single moments and have no interval")
    if not 1 / rule.rate_hz_max <= interval_s <= 1 / rule.rate_hz_min:
        span = f"{1 / rule.rate_hz_max:g} to {1 / rule.rate_hz_min:g} s"
        raise ValueError(f"ingest.readings.interval_s: readings of {name} ({kind}) may be {span} apart, got {interval_s:g}")
    return 1 / interval_s


def _add_unmapped(record: bytes, joined: Joined) -> None:
    """Decode a record that does not fit the mapping as a chunk of Vigil's own format, or as a reject."""
    decoded = decode(record, keep=True)
    joined.blocks.extend(decoded.blocks)
    joined.single.extend((reject.device, reject.payload) for reject in decoded.rejects)


def _add_block(kind: str, rate_hz: float, keys: list[tuple[str, int]], rows: list[list[float]], joined: Joined) -> None:
    """Check the readings of a kind as one block; those that break a rule are added as single chunks, which a core refuses for the same reason."""
    devices = tuple(device for device, _ in keys)
    samples = np.array(rows, np.float64)[:, None, :]
    raw = Raw(
        kind=kind,
        unit="",
        rate_hz=rate_hz,
        scale=1.0,
        shape=(1, samples.shape[2]),
        devices=devices,
        t0_ns=np.array([t0_ns for _, t0_ns in keys], np.int64),
        seq=np.full(len(keys), NO_SEQ, np.int64),
        quality=np.zeros(len(keys), np.uint8),
        samples=samples,
        payload=lambda row: _chunk(kind, rate_hz, keys[row], rows[row]),
        unreadable=tuple(i for i, device in enumerate(devices) if not good_device(device)),
    )
    for start in range(0, len(keys), CHUNKS_MAX):
        block, rejects, _ = judge(_chunk_rows(raw, start), keep=True)
        if block is not None:
            joined.blocks.append(block)
        joined.single.extend((reject.device, reject.payload) for reject in rejects)


def _chunk_rows(raw: Raw, start: int) -> Raw:
    """At most CHUNKS_MAX rows from `start`."""
    if start == 0 and len(raw.devices) <= CHUNKS_MAX:
        return raw
    rows, payload = slice(start, start + CHUNKS_MAX), raw.payload
    return raw._replace(
        devices=raw.devices[rows],
        t0_ns=raw.t0_ns[rows],
        seq=raw.seq[rows],
        quality=raw.quality[rows],
        samples=raw.samples[rows],
        payload=lambda row: payload(start + row),
        unreadable=tuple(row - start for row in raw.unreadable if start <= row < start + CHUNKS_MAX),
    )


def _filled(row: list[float], values: Sequence[tuple[int, float]]) -> list[float]:
    """`row`, with `values` in their places."""
    for column, value in values:
        row[column] = value
    return row


def _chunk(kind: str, rate_hz: float, key: tuple[str, int], row: list[float]) -> bytes:
    """A reading as a chunk of Vigil's own format."""
    names = [entry.name for entry in KINDS[kind].channels]
    values = {name: value for name, value in zip(names, row, strict=True) if value == value}  # noqa: PLR0124 - not NaN
    rate = {"rate_hz": rate_hz} if rate_hz else {}
    return msgspec.json.encode(
        {"v": VERSION, "device": key[0], "kind": kind, "t0_ns": key[1], **rate, "values": values or {names[0]: None}}
    )


def _scaled(factor: int) -> Callable[[Any], int]:
    def ns(time: Any) -> int:
        # A float of seconds is exact to some 100 ns: more than any sensor's clock.
        return time * factor if isinstance(time, int) else round(time * factor)

    return ns


def _iso_ns(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise NotAReadingError(str(error)) from error
    if when.tzinfo is None:
        raise NotAReadingError(f"the time {text!r} has no offset from UTC")
    return int(when.timestamp()) * NS_PER_S + when.microsecond * 1_000
