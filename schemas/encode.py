"""From Blocks to wire bytes: what gateways, the simulator and recordings send."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.block import NO_SEQ, Block, take
from engine.kinds import KINDS, MISSING_MAP
from schemas.wire import CHUNKS_MAX, MESSAGE_BYTES_MAX, VERSION, Envelope, SampleType, WireBlock

__all__ = ["batches", "encode_batch", "encode_chunk_json", "encode_wire", "take", "wire_block"]

_TYPES: Final[dict[str, SampleType]] = {"float32": "f4", "int16": "i2", "uint16": "u2", "uint8": "u1"}
_BYTE_MAX: Final = 255
_OVERHEAD_BYTES: Final = 4096
"""Room for the envelope and a block's own header when a batch is cut to the message limit."""

_ENCODER: Final = msgspec.msgpack.Encoder()


def _column(values: NDArray[Any], dtype: str) -> int | memoryview:
    """One integer when all rows agree, else the rows as little-endian bytes."""
    first = values[0]
    if (values == first).all():
        return int(first)
    return memoryview(np.ascontiguousarray(values, dtype).tobytes())


def wire_block(block: Block, unit: str = "") -> WireBlock:
    """`block` as it travels; `unit` names the unit its samples are in ("": the canonical one).

    Samples keep their type (float32, int16, uint16, uint8; any other becomes float32), except that a uint16 block whose
    values all fit a byte travels as bytes: a pressure map rarely needs more, and it is half of a ward's traffic.
    """
    samples = np.ascontiguousarray(block.samples)
    if samples.dtype == np.uint16 and samples.size and samples.max() <= _BYTE_MAX:
        samples = samples.astype(np.uint8)
    elif samples.dtype.name not in _TYPES:
        samples = samples.astype(np.float32)
    k, n, c = samples.shape
    if not k == len(block.devices) == len(block.t0_ns) == len(block.seq) == len(block.quality):
        raise ValueError(f"block of {block.kind} has {len(block.devices)} devices but {k} chunks of samples, or t0, seq, quality differ")
    rows, cols = block.shape if KINDS[block.kind].dtype is np.uint16 else (0, 0)
    return WireBlock(
        kind=block.kind,
        n=n,
        c=c,
        devices=memoryview("\n".join(block.devices).encode()),
        t0_ns=_column(block.t0_ns, "<i8"),
        samples=memoryview(samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()),
        rate_hz=float(block.rate_hz),
        unit=unit,
        dtype=_TYPES[samples.dtype.name],
        rows=rows,
        cols=cols,
        seq=_column(block.seq, "<i8"),
        quality=_column(block.quality, "u1"),
    )


def encode_wire(ward: str, blocks: list[WireBlock], *, gateway: str = "gw", seq: int = 0, sent_ns: int = 0) -> bytes:
    """A ward batch of blocks in wire form."""
    return _ENCODER.encode(Envelope(VERSION, ward, blocks, gateway, seq, sent_ns))


def encode_batch(ward: str, blocks: Iterable[Block], *, gateway: str = "gw", seq: int = 0, sent_ns: int = 0) -> bytes:
    """A binary ward batch of `blocks` (canonical units). ValueError when it is longer than a message may be."""
    payload = encode_wire(ward, [wire_block(block) for block in blocks if block.devices], gateway=gateway, seq=seq, sent_ns=sent_ns)
    if len(payload) > MESSAGE_BYTES_MAX:
        raise ValueError(f"ward batch has {len(payload)} bytes, at most {MESSAGE_BYTES_MAX} are allowed: send fewer blocks a batch")
    return payload


def batches(blocks: Iterable[tuple[Block, str]], bytes_max: int = MESSAGE_BYTES_MAX) -> Iterator[list[WireBlock]]:
    """`blocks` with their units, in order, as wire blocks grouped so that no message passes `bytes_max`."""
    pending: list[WireBlock] = []
    size = _OVERHEAD_BYTES
    for block, unit in blocks:
        widest = max((len(device) for device in block.devices), default=0)
        row_bytes = 4 * (widest + 1) + 17 + block.samples[:1].size * 4  # UTF-8 is at most 4 bytes a character; t0, seq, quality are 17
        step = max(1, min(CHUNKS_MAX, (bytes_max - _OVERHEAD_BYTES) // row_bytes))
        for start in range(0, len(block.devices), step):
            wire = wire_block(take(block, slice(start, start + step)), unit)
            own = len(wire.samples) + len(wire.devices) + 17 * min(step, len(block.devices)) + 256
            if pending and size + own > bytes_max:
                yield pending
                pending, size = [], _OVERHEAD_BYTES
            pending.append(wire)
            size += own
    if pending:
        yield pending


def encode_chunk_json(block: Block, row: int) -> bytes:
    """Chunk `row` of `block` as JSON; decoding it gives exactly the same samples (missing values travel as null)."""
    kind = KINDS[block.kind]
    samples = block.samples[row]
    grid = kind.dtype is np.uint16
    missing = samples == MISSING_MAP if grid else np.isnan(samples)
    rows: list[list[int | float | None]] = [
        [None if gone else value for value, gone in zip(values, gaps, strict=True)]
        for values, gaps in zip(samples.tolist(), missing.tolist(), strict=True)
    ]
    if not all(value is None or math.isfinite(value) for values in rows for value in values):
        raise ValueError(f"chunk {row} of {block.kind} holds infinity, which JSON cannot say: send what is missing as NaN")
    chunk: dict[str, Any] = {"v": VERSION, "device": block.devices[row], "kind": block.kind, "t0_ns": int(block.t0_ns[row])}
    if block.rate_hz:
        chunk["rate_hz"] = block.rate_hz
    if block.seq[row] != NO_SEQ:
        chunk["seq"] = int(block.seq[row])
    chunk["unit"] = next(iter(kind.units))
    if grid:
        chunk["shape"] = list(block.shape)
    chunk["samples"] = rows
    if block.quality[row]:
        chunk["quality"] = int(block.quality[row])
    return msgspec.json.encode(chunk)
