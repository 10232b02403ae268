"""Reads the binary ward batch. Only sizes are judged here; what the numbers mean is `schemas.check`'s."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.block import NO_SEQ
from engine.frame import Int64, UInt8
from engine.kinds import KINDS
from engine.outputs import Reason, Reject
from schemas.check import TIME_RULE, Raw, good_device, label, shown
from schemas.encode import encode_wire
from schemas.wire import BLOCKS_MAX, CHUNKS_MAX, DEVICE_SEPARATOR, TEXT_BYTES_MAX, VERSION, Envelope, WireBlock

CHUNKS_MESSAGE_MAX: Final = 16_384
"""Chunks in one message: bounds what one message can cost, however small its chunks are."""
CACHE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Device columns remembered, in bytes of their wire form; past it all are forgotten and learnt again."""

_I8_MIN: Final = -(2**63)
_I8_MAX: Final = 2**63 - 1
_U1_MAX: Final = 255
_COMPLAINT_MAX: Final = 200
"""Characters of the longest sentence of msgspec that is passed on: it repeats a received text whole."""
_MAP_START: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
"""First bytes of a MessagePack map (its specification, "map format family")."""


class Refused(Exception):
    """A message, or a block of one, that cannot be read at all."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _LooseEnvelope(msgspec.Struct, forbid_unknown_fields=True):
    """Envelope whose blocks are read one by one, so that one bad block does not take the others with it."""

    v: int
    ward: str
    blocks: list[msgspec.Raw]
    gateway: str = ""
    seq: int = NO_SEQ
    sent_ns: int = 0


class _Version(msgspec.Struct):
    v: int


_TYPES: Final = {name: np.dtype(f"<{name}") for name in ("f4", "i2", "u1", "u2")}
_I8: Final = np.dtype("<i8")
_U1: Final = np.dtype("u1")
_GRIDS: Final = frozenset(name for name, kind in KINDS.items() if kind.dtype is np.uint16)

_MISFIT: Final = (msgspec.ValidationError, UnicodeDecodeError)
"""MessagePack, but not the contract (msgspec tells of text that is not UTF-8 by the latter)."""
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Anything msgspec may answer to bytes."""

_ENVELOPE: Final = msgspec.msgpack.Decoder(Envelope)
_LOOSE: Final = msgspec.msgpack.Decoder(_LooseEnvelope)
_BLOCK: Final = msgspec.msgpack.Decoder(WireBlock)
_VERSION: Final = msgspec.msgpack.Decoder(_Version)


class DeviceCache:
    """Device columns already seen: a gateway sends the same ids every second, reading them once is enough.

    A pure memo: what it returns depends on the bytes alone. It never holds more than `bytes_max` of wire form, and
    remembers nothing that will be refused anyway.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._known: dict[bytes, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def read(self, column: memoryview) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The ids, and the rows whose id is not one."""
        key = bytes(column)
        found = self._known.get(key)
        if found is None:
            found = self._parse(key)
            if not found[1] and len(found[0]) <= CHUNKS_MAX and len(key) <= self._bytes_max // 16:
                if self._size + len(key) > self._bytes_max:
                    self._known.clear()
                    self._size = 0
                self._known[key] = found
                self._size += len(key)
        return found

    @staticmethod
    def _parse(column: bytes) -> tuple[tuple[str, ...], tuple[int, ...]]:
        parts = column.split(DEVICE_SEPARATOR, CHUNKS_MAX + 1)
        devices = tuple(part.decode("utf-8", "backslashreplace") for part in parts)
        # what was not UTF-8 reads as printable escapes: only its bytes tell
        bad = (row for row, device in enumerate(devices) if not good_device(device) or device.encode() != parts[row])
        return devices, tuple(bad)


_DEVICES: Final = DeviceCache()


def read_batch(payload: bytes | memoryview) -> tuple[Envelope, list[Raw], list[Reject]]:
    """The envelope, the blocks that can be read, and a Reject for each that cannot. Raises Refused for a whole message."""
    envelope, broken = _read_envelope(payload)
    if envelope.v != VERSION:
        raise Refused(Reason.UNKNOWN_VERSION, f"v is {envelope.v}, this Vigil reads v {VERSION}")
    if not good_device(envelope.ward) or not (envelope.gateway == "" or good_device(envelope.gateway)):
        raise Refused(
            Reason.WRONG_TYPE, f"ward and gateway must be 1 to {TEXT_BYTES_MAX} printable characters, ward is {shown(envelope.ward)}"
        )
    if not (NO_SEQ <= envelope.seq <= _I8_MAX and 0 <= envelope.sent_ns <= _I8_MAX):
        raise Refused(Reason.WRONG_TYPE, "seq and sent_ns of the envelope must be integers from 0 to 2^63-1")
    if len(envelope.blocks) + len(broken) > BLOCKS_MAX:
        raise Refused(Reason.TOO_LARGE, f"the batch holds {len(envelope.blocks)} blocks, at most {BLOCKS_MAX} are allowed")
    raws: list[Raw] = []
    rejects = broken
    total = 0
    for wire in envelope.blocks:
        try:
            raw = _read_block(wire, envelope)
        except Refused as refused:
            rejects.append(Reject(refused.reason, refused.detail, "", label(wire.kind), 0, _alone(wire, envelope)))
            continue
        total += len(raw.devices)
        if total > CHUNKS_MESSAGE_MAX:
            raise Refused(Reason.TOO_LARGE, f"the batch holds more than {CHUNKS_MESSAGE_MAX} chunks: send smaller batches")
        raws.append(raw)
    return envelope, raws, rejects


def _read_envelope(payload: bytes | memoryview) -> tuple[Envelope, list[Reject]]:
    if payload[0] not in _MAP_START:
        raise Refused(Reason.MALFORMED, "the message is neither JSON nor a MessagePack ward batch: it starts like neither")
    try:
        return _ENVELOPE.decode(payload), []
    except _MISFIT as error:
        _refuse_version(payload)
        return _read_loosely(payload, error)
    except _UNREADABLE as error:
        raise Refused(*_unreadable(payload, error)) from error


def _refuse_version(payload: bytes | memoryview) -> None:
    try:
        v = _VERSION.decode(payload).v
    except _UNREADABLE:
        return
    if v != VERSION:
        raise Refused(Reason.UNKNOWN_VERSION, f"v is {v}, this Vigil reads v {VERSION}")


def _read_loosely(payload: bytes | memoryview, why: Exception) -> tuple[Envelope, list[Reject]]:
    """Block by block, after the batch as a whole did not fit the contract."""
    try:
        loose = _LOOSE.decode(payload)
    except _MISFIT as error:
        raise Refused(Reason.WRONG_TYPE, f"the ward batch does not fit the contract: {_said(error)}") from error
    except _UNREADABLE as error:
        raise Refused(*_unreadable(payload, error)) from error
    blocks: list[WireBlock] = []
    rejects: list[Reject] = []
    if len(loose.blocks) > BLOCKS_MAX:
        raise Refused(Reason.TOO_LARGE, f"the batch holds {len(loose.blocks)} blocks, at most {BLOCKS_MAX} are allowed")
    for index, raw in enumerate(loose.blocks):
        try:
            blocks.append(_BLOCK.decode(raw))
        except _UNREADABLE as error:
            rejects.append(Reject(Reason.WRONG_TYPE, f"block {index} does not fit the contract: {_said(error)}", "", "", 0, bytes(raw)))
    if not rejects:
        raise Refused(Reason.WRONG_TYPE, f"the ward batch does not fit the contract: {_said(why)}")
    return Envelope(loose.v, loose.ward, blocks, loose.gateway, loose.seq, loose.sent_ns), rejects


def _said(error: Exception) -> str:
    """What msgspec says, as a device maker may read it."""
    if isinstance(error, RecursionError):
        return "it is nested far deeper than a ward batch can be"
    why = str(error)
    advice = f"; allowed are {', '.join(_TYPES)}" if why.endswith("`$.dtype`") else ""
    return (why if len(why) <= _COMPLAINT_MAX else f"{why[:_COMPLAINT_MAX]}…") + advice


def _unreadable(payload: bytes | memoryview, error: Exception) -> tuple[Reason, str]:
    why = _said(error)
    if "truncated" in why:
        return Reason.TRUNCATED, f"the message ends after {len(payload)} bytes, before the batch it announces is complete"
    return Reason.MALFORMED, f"the message is neither JSON nor a MessagePack ward batch: {why}"


def _read_block(wire: WireBlock, envelope: Envelope) -> Raw:
    devices, bad = _DEVICES.read(wire.devices)
    k, n, c = len(devices), wire.n, wire.c
    if k > CHUNKS_MAX:
        raise Refused(Reason.TOO_LARGE, f"a block of {label(wire.kind)} holds more than {CHUNKS_MAX} chunks: send more, smaller blocks")
    dtype = _TYPES[wire.dtype]
    wanted = k * n * c * dtype.itemsize
    if n < 0 or c < 0 or wanted != wire.samples.nbytes:
        found = f"samples of {label(wire.kind)} have {wire.samples.nbytes} bytes"
        ends = "" if devices[-1] or k == 1 else "; devices ends with a line feed, which makes an empty device id at the end: leave it out"
        raise Refused(Reason.BAD_SHAPE, f"{found}, {k} devices x {n} samples x {c} channels of {wire.dtype} need {wanted}{ends}")
    grid = bool(wire.rows or wire.cols) or wire.kind in _GRIDS
    return Raw(
        kind=wire.kind,
        unit=wire.unit,
        rate_hz=wire.rate_hz,
        scale=wire.scale,
        shape=(wire.rows, wire.cols) if grid else (1, c),
        devices=devices,
        t0_ns=_int64(wire.t0_ns, k, "t0_ns", Reason.BAD_TIME),
        seq=_int64(wire.seq, k, "seq", Reason.WRONG_TYPE),
        quality=_flags(wire.quality, k),
        samples=np.frombuffer(wire.samples, dtype).reshape(k, n, c),
        payload=_Kept(wire, envelope, k),
        unreadable=bad,
    )


def _int64(column: int | memoryview, k: int, name: str, reason: Reason) -> Int64:
    if isinstance(column, int):
        if not _I8_MIN <= column <= _I8_MAX:
            raise Refused(
                reason, f"{name} is {column}: {TIME_RULE if reason is Reason.BAD_TIME else 'it must fit a signed 64-bit integer'}"
            )
        return _filled(k, column, np.dtype(np.int64))
    return _bytes(column, k, _I8, name).astype(np.int64)


def _flags(column: int | memoryview, k: int) -> UInt8:
    if isinstance(column, int):
        if not 0 <= column <= _U1_MAX:
            raise Refused(Reason.WRONG_TYPE, f"quality is {column}: it must fit one byte")
        return _filled(k, column, np.dtype(np.uint8))
    return _bytes(column, k, _U1, "quality").astype(np.uint8)


def _filled(k: int, value: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`numpy.full`, which takes three times as long for a ward's few rows."""
    column = np.empty(k, dtype)
    column[:] = value
    return column


def _bytes(column: memoryview, k: int, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    if column.nbytes != k * dtype.itemsize:
        raise Refused(Reason.BAD_SHAPE, f"{name} has {column.nbytes} bytes, {k} devices need {k * dtype.itemsize}")
    return np.frombuffer(column, dtype)


def _alone(wire: WireBlock, envelope: Envelope) -> bytes:
    """A batch with this block only: what is kept of a refused block can be sent again as it is."""
    return encode_wire(envelope.ward, [wire], gateway=envelope.gateway, seq=envelope.seq, sent_ns=envelope.sent_ns)


class _Kept:
    """The bytes of one chunk of a block, as a batch of its own."""

    def __init__(self, wire: WireBlock, envelope: Envelope, k: int) -> None:
        self._wire = wire
        self._envelope = envelope
        self._k = k
        self._ids: list[bytes] = []

    def __call__(self, row: int) -> bytes:
        wire = self._wire
        if not self._ids:
            self._ids = bytes(wire.devices).split(DEVICE_SEPARATOR)
        t0_ns, seq, quality = (self._own(column, row) for column in (wire.t0_ns, wire.seq, wire.quality))
        width = wire.samples.nbytes // self._k
        samples = wire.samples[row * width : (row + 1) * width]
        alone = msgspec.structs.replace(wire, devices=memoryview(self._ids[row]), t0_ns=t0_ns, seq=seq, quality=quality, samples=samples)
        return _alone(alone, self._envelope)

    def _own(self, column: int | memoryview, row: int) -> int | memoryview:
        if isinstance(column, int):
            return column
        width = column.nbytes // self._k
        return column[row * width : (row + 1) * width]
