"""Recordings: what was received, byte for byte, with who was who and what was true.

A recording is a folder `<name>.vigil/`:
    meta.json       format version, name, source, licence, notes
    registry.json   engine.registry.RegistryData
    frames.parquet  columns arrival_ns int64, payload binary (a wire payload: JSON chunk(s) or a binary ward batch), zstd
    truth.jsonl     one Truth a line
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from engine.registry import RegistryData


class Record(NamedTuple):
    """One received message: when Vigil received it, and its bytes as they were on the wire."""

    arrival_ns: int
    payload: bytes


class Truth(msgspec.Struct, frozen=True, omit_defaults=True):
    """What really happened: `code` (an event code, e.g. "falls.fall") held for `subject` from start_ns to end_ns."""

    subject: str
    code: str
    start_ns: int
    end_ns: int
    note: str = ""


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a recording comes from."""

    name: str
    source: str
    version: int = 1
    licence: str = ""
    notes: str = ""


class Recording(NamedTuple):
    """A recording, in memory or streamed from its folder (`records` may be read once)."""

    meta: Meta
    registry: RegistryData
    truth: tuple[Truth, ...]
    records: Iterator[Record]
