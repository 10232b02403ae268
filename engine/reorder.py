"""The reorder buffer: chunks that wait a moment for the one before them, by stream.

A chunk with a hole in the numbers before it, or where there are none in stamps that are known to be good, is held until its predecessor
comes or the hold time passes (docs/decisions, 4).
"""

from __future__ import annotations

from bisect import insort
from typing import Final

import msgspec
import numpy as np

from engine.block import Block
from engine.clocks import Streams
from engine.frame import NS_PER_S

WAITS_MAX: Final = 5
"""Times `hold_ns`: no chunk waits longer."""
HELD_CHUNKS_MAX: Final = 64
"""Chunks held per stream; beyond it all are released at once, with the gap. A minute of what a device kept and sends newest first."""


class HeldChunk(msgspec.Struct, array_like=True):
    """One chunk, with everything needed to feed it later."""

    device: str
    kind: str
    t0_ns: int
    seq: int
    rate_hz: float
    quality: int
    shape: tuple[int, int]
    samples_shape: tuple[int, int]
    dtype: str
    samples: bytes
    arrival_ns: int

    @classmethod
    def row(cls, block: Block, i: int, arrival_ns: int) -> HeldChunk:
        """Row `i` of `block`, copied."""
        samples = block.samples[i]
        return cls(
            block.devices[i], block.kind, int(block.t0_ns[i]), int(block.seq[i]), block.rate_hz, int(block.quality[i]), block.shape,
            (samples.shape[0], samples.shape[1]), samples.dtype.str, samples.tobytes(), arrival_ns,
        )  # fmt: skip

    @property
    def half_ns(self) -> int:
        """Half of what it covers."""
        return int(self.samples_shape[0] / self.rate_hz * NS_PER_S / 2) if self.rate_hz > 0.0 else 0

    def block(self) -> Block:
        """The chunk as a block of one row."""
        # Copied: a read-only array is another type to a compiled kernel, and would have it compiled again while alarms wait.
        samples = np.frombuffer(self.samples, self.dtype).reshape(1, *self.samples_shape).copy()
        quality = np.array([self.quality], np.uint8)
        return Block(self.kind, (self.device,), np.array([self.t0_ns]), np.array([self.seq]), self.rate_hz, samples, quality, self.shape)


class ReorderBuffer:
    """The chunks that wait, by stream (a row of the stream table), in the order of their numbers, or times."""

    def __init__(self) -> None:
        self.waiting: dict[int, list[HeldChunk]] = {}

    def add(self, stream: int, chunk: HeldChunk) -> None:
        """Hold `chunk`."""
        insort(self.waiting.setdefault(stream, []), chunk, key=lambda held: (held.seq, held.t0_ns))

    def pop(self, stream: int, streams: Streams, *, everything: bool) -> HeldChunk | None:
        """Take out the next chunk of `stream`, if it is its turn or `everything` may go: its number follows, or most of it comes before
        the time at which, by the device's own clock, the next chunk begins."""
        chunks = self.waiting.get(stream)
        if not chunks:
            return None
        first = chunks[0]
        if not everything:
            next_ns = int(streams.next_ns[stream]) - int(streams.clock_offset_ns[stream])
            if first.seq > streams.last_seq[stream] + 1 or (first.seq < 0 and first.t0_ns - first.half_ns > next_ns):
                return None
        chunk = chunks.pop(0)
        if not chunks:
            del self.waiting[stream]
        return chunk

    def full(self, stream: int) -> bool:
        """Whether `stream` holds more than it may."""
        return len(self.waiting.get(stream, ())) > HELD_CHUNKS_MAX

    def expired(self, now_ns: int, hold_ns: int) -> list[int]:
        """Streams whose next chunk has waited for `hold_ns`, or any for WAITS_MAX times as long: older ones may come for ever."""
        return sorted(
            s
            for s, chunks in self.waiting.items()
            if now_ns - chunks[0].arrival_ns >= hold_ns or now_ns - min(chunk.arrival_ns for chunk in chunks) >= WAITS_MAX * hold_ns
        )

    def count(self) -> int:
        """Chunks that wait."""
        return sum(len(chunks) for chunks in self.waiting.values())

    def save(self) -> list[tuple[int, HeldChunk]]:
        """For the snapshot."""
        return [(s, chunk) for s, chunks in self.waiting.items() for chunk in chunks]

    def load(self, saved: list[tuple[int, HeldChunk]]) -> None:
        """Inverse of `save`."""
        self.waiting = {}
        for s, chunk in saved:
            self.waiting.setdefault(s, []).append(chunk)
