"""What one device sends, message by message, before it is written in wire form: the shape that faults work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.block import NO_SEQ, Block
from engine.frame import NS_PER_S
from engine.kinds import KINDS, MISSING_MAP
from engine.registry import RegistryData
from schemas.encode import encode_batch
from schemas.wire import VERSION

Samples = NDArray[np.float64]
LATENCY_NS: Final = 200_000_000
"""From a chunk's last sample to its arrival, on a device and a network without fault."""
DECIMALS: Final = 5


class Chunk(NamedTuple):
    """One message as the device means to send it.

    `samples` (n, c), NaN missing. `rate_hz` 0 and `seq` -1: not said. `more`: fields of the JSON chunk that replace or join the others
    (None takes one away). `raw`: these bytes instead of everything else. `batch`: sent as a binary ward batch.
    """

    arrival_ns: int
    device: str
    kind: str
    t0_ns: int
    rate_hz: float
    seq: int
    samples: Samples
    unit: str = ""
    shape: tuple[int, int] | None = None
    quality: int = 0
    more: Mapping[str, Any] = {}
    raw: bytes | None = None
    batch: bool = False

    @property
    def lasts_ns(self) -> int:
        """Device time that the chunk covers by what it says; 0 for an instant."""
        timing = KINDS[self.kind].timing if self.kind in KINDS else "regular"
        if timing == "interval":
            return round(float(np.nansum(self.samples[:, 0])) * 1e6)
        return 0 if timing == "irregular" or not self.rate_hz else round(len(self.samples) / self.rate_hz * NS_PER_S)

    def later(self, by_ns: int) -> Chunk:
        """The same, measured and sent `by_ns` later."""
        return self._replace(arrival_ns=self.arrival_ns + by_ns, t0_ns=self.t0_ns + by_ns)


class Rebinding(NamedTuple):
    """Somebody changes the registry."""

    arrival_ns: int
    registry: RegistryData


Message = Chunk | Rebinding


def wire(chunk: Chunk) -> bytes:
    """The bytes of `chunk`."""
    if chunk.raw is not None:
        return chunk.raw
    if chunk.batch:
        return _batch(chunk)
    fields: dict[str, Any] = {"v": VERSION, "device": chunk.device, "kind": chunk.kind, "t0_ns": chunk.t0_ns}
    if chunk.rate_hz:
        fields["rate_hz"] = chunk.rate_hz
    if chunk.seq >= 0:
        fields["seq"] = chunk.seq
    if chunk.unit:
        fields["unit"] = chunk.unit
    if chunk.shape is not None:
        fields["shape"] = chunk.shape
    if chunk.quality:
        fields["quality"] = chunk.quality
    fields["samples"] = chunk.samples.tolist()  # NaN is written as null
    fields |= chunk.more
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _batch(chunk: Chunk) -> bytes:
    grid = chunk.shape is not None
    samples = np.where(np.isnan(chunk.samples), MISSING_MAP, chunk.samples).astype(np.uint16) if grid else chunk.samples.astype(np.float32)
    block = Block(
        kind=chunk.kind,
        devices=(chunk.device,),
        t0_ns=np.array([chunk.t0_ns], np.int64),
        seq=np.array([chunk.seq], np.int64),
        rate_hz=chunk.rate_hz,
        samples=samples[None],
        quality=np.array([chunk.quality], np.uint8),
        shape=chunk.shape or (1, samples.shape[1]),
    )
    return encode_batch("home/ward", [block], gateway="gw-fault", seq=max(0, chunk.seq), sent_ns=chunk.arrival_ns)


def chunks_of(block: Block) -> Iterable[Chunk]:
    """The rows of a decoded block, as they would come from a device and a network without fault."""
    grid = KINDS[block.kind].dtype is np.uint16
    for row, device in enumerate(block.devices):
        samples = block.samples[row].astype(np.float64)
        if grid:
            samples[samples == MISSING_MAP] = np.nan
        chunk = Chunk(
            0,
            device,
            block.kind,
            int(block.t0_ns[row]),
            block.rate_hz,
            int(block.seq[row]),
            samples if grid else samples.round(DECIMALS),
            shape=block.shape if grid else None,
            quality=int(block.quality[row]),
        )
        yield on_time(chunk)


def on_time(chunk: Chunk) -> Chunk:
    """Arriving LATENCY_NS after its last sample."""
    return chunk._replace(arrival_ns=chunk.t0_ns + chunk.lasts_ns + LATENCY_NS)


def numbered(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same with numbers from 1000 on, so that a number that starts again is another one."""
    return [chunk._replace(seq=1000 + number) for number, chunk in enumerate(chunks)]


def unnumbered(chunks: Iterable[Chunk]) -> list[Chunk]:
    """The same without numbers."""
    return [chunk._replace(seq=NO_SEQ) for chunk in chunks]


def looped(chunks: Sequence[Chunk], until_ns: int) -> list[Chunk]:
    """`chunks` over and over, each round behind the one before, until `until_ns` is reached; the first round is not repeated in it."""
    start, end = chunks[0].t0_ns, chunks[-1].t0_ns + chunks[-1].lasts_ns
    found: list[Chunk] = []
    shift = end - start
    if shift <= 0:
        return found
    while chunks[0].t0_ns + shift < until_ns:
        found.extend(chunk.later(shift) for chunk in chunks)
        shift += end - start
    return found


def led_in(chunks: Sequence[Chunk], from_ns: int) -> list[Chunk]:
    """The same order backwards: `chunks` repeated before their own beginning, from about `from_ns` on."""
    start, end = chunks[0].t0_ns, chunks[-1].t0_ns + chunks[-1].lasts_ns
    rounds = max(0, -(-(start - from_ns) // max(1, end - start))) if end > start else 0
    return [chunk.later(-number * (end - start)) for number in range(rounds, 0, -1) for chunk in chunks]
