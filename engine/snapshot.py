"""An engine as stored: one message, versioned."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.history import Span
from engine.registry import RegistryData
from engine.reorder import HeldChunk
from engine.slots import SlotsSaved
from engine.watching import WatchingSaved

STATE_VERSION: Final = 4


class EngineSnapshot(msgspec.Struct, array_like=True):
    """Everything an engine knows beside what `Devices.save` holds. Stored by position: the order of the fields is the format."""

    version: int
    streams: bytes
    devices: list[tuple[str, str]]
    subjects: list[str]
    slots: SlotsSaved
    registry: RegistryData
    held: list[tuple[int, HeldChunk]]
    last_tick_ns: int
    hour_ns: int
    refused: list[tuple[str, str, int]]
    past: list[int]
    detectors: dict[str, bytes]
    no_value: list[tuple[str, str, int]] = []  # a snapshot of before has none of these
    scales: bytes = b""
    history: list[Span] = []
    instants: bytes = b""
    watching: WatchingSaved = msgspec.field(default_factory=WatchingSaved)


def encode(saved: EngineSnapshot, devices: bytes) -> bytes:
    """A snapshot as bytes; `devices` is what `Devices.save` returned."""
    return msgspec.msgpack.encode((saved, devices))


def decode(data: bytes) -> tuple[EngineSnapshot, bytes]:
    """Inverse of `encode`; ValueError when it does not fit this version."""
    try:
        saved, devices = msgspec.msgpack.decode(data, type=tuple[EngineSnapshot, bytes])
    except msgspec.DecodeError as error:
        raise ValueError(f"this is no engine snapshot of this version ({error}): start cold and replay") from error
    if saved.version != STATE_VERSION:
        raise ValueError(f"engine snapshot v{saved.version} does not fit this version v{STATE_VERSION}: start cold and replay")
    return saved, devices
