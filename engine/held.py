"""A chunk that waits a moment for the one before it."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from engine.block import Block


class Held(msgspec.Struct, array_like=True):
    """One chunk, with everything needed to feed it later."""

    MAX: ClassVar[int] = 8
    """Chunks held per stream; at the bound all are fed at once, with the gap."""

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
    def row(cls, block: Block, i: int, arrival_ns: int) -> Held:
        """Row `i` of `block`, copied."""
        samples = block.samples[i]
        return cls(
            block.devices[i], block.kind, int(block.t0_ns[i]), int(block.seq[i]), block.rate_hz, int(block.quality[i]), block.shape,
            (samples.shape[0], samples.shape[1]), samples.dtype.str, samples.tobytes(), arrival_ns,
        )  # fmt: skip

    def block(self) -> Block:
        """The chunk as a block of one row."""
        # Copied: a read-only array is another type to a compiled kernel, and would have it compiled again in the middle of the night.
        samples = np.frombuffer(self.samples, self.dtype).reshape(1, *self.samples_shape).copy()
        quality = np.array([self.quality], np.uint8)
        return Block(self.kind, (self.device,), np.array([self.t0_ns]), np.array([self.seq]), self.rate_hz, samples, quality, self.shape)
