"""What the codec hands to the engine: chunks by device, not yet by resident."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import Int64, Samples, UInt8

NO_SEQ: Final = -1
"""`Block.seq` of a device that does not number its chunks."""

QUALITY_POOR: Final = 1
"""Bit of `Block.quality`: the device says the whole chunk is not to be trusted (off-body, lead-off, saturated)."""
QUALITY_TEST: Final = 2
"""Bit of `Block.quality`: sent by a tester or a canary, not by a person in need."""
QUALITY_CHARGER: Final = 4
"""Bit of `Block.quality`: the device lies on its charger. It measures nobody, and nothing is wrong; QUALITY_POOR is set too."""


class Block(NamedTuple):
    """k chunks of one kind, rate and length, as the devices sent them, in the canonical unit.

    Same arrays as Frame (see there), with `devices` (k,) instead of slots, `seq` int64 (k,) (NO_SEQ: none) and
    `quality` uint8 (k,) bit flags. A device may appear more than once; the order is the order of sending. `no_value` int64 (k,): readings
    of each chunk in which the device said "no value", by a code of its own or by measuring nothing at all; None: none did. `retained`: a
    broker kept the message and gives it to whoever asks, so nobody knows when it arrived first.
    """

    kind: str
    devices: tuple[str, ...]
    t0_ns: Int64
    seq: Int64
    rate_hz: float
    samples: Samples
    quality: UInt8
    shape: tuple[int, int]
    no_value: Int64 | None = None
    retained: bool = False


def take(block: Block, rows: slice | NDArray[Any]) -> Block:
    """`block` with the chunks `rows` only."""
    index = np.arange(len(block.devices))[rows]
    return block._replace(
        devices=tuple(block.devices[i] for i in index.tolist()),
        t0_ns=block.t0_ns[rows],
        seq=block.seq[rows],
        samples=block.samples[rows],
        quality=block.quality[rows],
        no_value=None if block.no_value is None else block.no_value[rows],
    )
