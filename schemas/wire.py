"""The binary ward batch as it is on the wire: a MessagePack envelope of blocks, and the limits both forms obey.

Versioning: `v` is the version of the contract. A reader refuses a version it does not know (`unknown_version`) and, inside a
version it knows, a field it does not know (`wrong_type`): a sender that means more than the reader understands must say so with
a new `v`, never with a silent extra field.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

VERSION: Final = 1
"""The version of the contract this package speaks."""

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longest message, JSON or binary. Kafka frames are wanted at 50-200 kB; this is the ceiling, not the target."""
BLOCKS_MAX: Final = 256
"""Blocks in one ward batch: 15 kinds at a few rates and lengths each."""
CHUNKS_MAX: Final = 4096
"""Chunks in one block, and chunks in one JSON array."""
TEXT_BYTES_MAX: Final = 128
"""Characters in a device id; bytes in a ward, gateway, kind or unit name."""

DEVICE_SEPARATOR: Final = b"\n"
"""Between device ids in `WireBlock.devices`. A device id holds no control character, so it cannot hold this."""

SampleType = Literal["f4", "i2", "u1", "u2"]
"""Little-endian sample types of the wire (numpy names)."""

MISSING_I2: Final = -32768
MISSING_U2: Final = 65535
"""What "not measured" is in i2 and u2 samples; in f4 it is NaN; u1 has none."""


class WireBlock(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """k chunks of one kind, rate and length.

    `samples`: k x n x c values of `dtype`, little-endian, C order; a value in `unit` is `raw * scale`.
    `devices`: k device ids, UTF-8, joined by a line feed: one field that is decoded once and recognised afterwards.
    `t0_ns`, `seq`: k little-endian int64, or one integer for all; `quality`: k bytes of flags, or one integer for all.
    `unit` "" is the canonical unit of the kind. `rows`, `cols`: of a pressure map (c = rows x cols), else absent.
    """

    kind: str
    n: int
    c: int
    devices: memoryview
    t0_ns: int | memoryview
    samples: memoryview
    rate_hz: float = 0.0
    unit: str = ""
    dtype: SampleType = "f4"
    scale: float = 1.0
    rows: int = 0
    cols: int = 0
    seq: int | memoryview = -1
    quality: int | memoryview = 0


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A ward batch: which ward, through which gateway, the gateway's own number and clock of sending, and the blocks."""

    v: int
    ward: str
    blocks: list[WireBlock]
    gateway: str = ""
    seq: int = -1
    sent_ns: int = 0
