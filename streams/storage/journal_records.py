"""What a journal segment is made of: records `length u32 | crc32 u32 | arrival_ns i64 | topic u8 | payload`, little-endian.

The checksum covers all that follows it. Records carry no number of their own: a segment's name is the number of its first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from streams.pipeline.handovers import DIRECT, Handover
from streams.pipeline.records import Input, Kind

_HEAD: Final = struct.Struct("<IIqB")
_CHECKED: Final = struct.Struct("<qB")
_CHECKED_FROM: Final = _HEAD.size - _CHECKED.size


class Topic(IntEnum):
    """What a journal record is."""

    TELEMETRY = 0
    COMMAND = 1
    REGISTRY = 2
    KEYED_TELEMETRY = 3  # an idempotency key, a zero byte, then the wire payload
    BROKER_TELEMETRY = 4  # flags u8 (1 retained, 2 a second try), packet number u16, then the wire payload


_TOPICS: Final = frozenset(int(topic) for topic in Topic)
_KINDS: Final = {
    Topic.TELEMETRY: Kind.TELEMETRY,
    Topic.KEYED_TELEMETRY: Kind.TELEMETRY,
    Topic.BROKER_TELEMETRY: Kind.TELEMETRY,
    Topic.COMMAND: Kind.COMMAND,
    Topic.REGISTRY: Kind.REGISTRY_CHANGE,
}
_KEY_END: Final = b"\0"
_HANDOVER: Final = struct.Struct("<BH")


class Entry(NamedTuple):
    """One journal record."""

    offset: int
    arrival_ns: int
    topic: Topic
    payload: bytes


def keyed(key: str, payload: bytes) -> bytes:
    """The payload of a KEYED_TELEMETRY record."""
    return key.encode() + _KEY_END + payload


def brokered(handover: Handover, payload: bytes) -> bytes:
    """The payload of a BROKER_TELEMETRY record."""
    return _HANDOVER.pack(handover.retained | handover.again << 1, handover.packet) + payload


def as_input(entry: Entry) -> Input:
    """The journal record as a partition takes it: the journal's stamp is its arrival."""
    key, value, handover = b"", entry.payload, DIRECT
    if entry.topic is Topic.KEYED_TELEMETRY:
        key, _, value = value.partition(_KEY_END)
    elif entry.topic is Topic.BROKER_TELEMETRY:
        flags, packet = _HANDOVER.unpack_from(value)
        handover, value = Handover(bool(flags & 1), bool(flags & 2), packet), value[_HANDOVER.size :]
    arrival_ns = entry.arrival_ns
    return Input(entry.offset, _KINDS[entry.topic], key.decode(errors="replace"), arrival_ns, arrival_ns, value, "", 0, handover)


def encoded(topic: Topic, payload: bytes, arrival_ns: int) -> bytes:
    """A record as written."""
    checked = _CHECKED.pack(arrival_ns, int(topic)) + payload
    return struct.pack("<II", len(payload), zlib.crc32(checked)) + checked


def read_one(file: BinaryIO, number: int) -> Entry | None:
    """The record at the file's place; None when there is no whole and sound one."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, crc, arrival_ns, topic = _HEAD.unpack(head)
    payload = file.read(length)
    if len(payload) < length or zlib.crc32(head[_CHECKED_FROM:] + payload) != crc:
        return None
    return Entry(number, arrival_ns, Topic(topic), payload)


def entries(path: Path, start: int) -> Iterator[Entry]:
    """Whole records of one segment file, from its beginning; also beside a running writer."""
    with path.open("rb") as file:
        while (entry := read_one(file, start)) is not None:
            start += 1
            yield entry


def is_torn(rest: bytes) -> bool:
    """Whether `rest`, which does not begin with a sound record, is one that was being written when the power went.

    Such a record runs beyond the end of the file and nothing whole comes after it. Anything else was once whole: damage.
    """
    for at in range(len(rest)):
        if len(rest) - at < _HEAD.size:
            return True
        length, crc, _, topic = _HEAD.unpack_from(rest, at)
        end = at + _HEAD.size + length
        if end > len(rest):
            continue
        if at == 0 or (topic in _TOPICS and zlib.crc32(memoryview(rest)[at + _CHECKED_FROM : end]) == crc):
            return False
    return True
