"""Reads the JSON form: one chunk, or an array of chunks. Each chunk is judged on its own; those that fit join in blocks."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from engine.kinds import KINDS, NO_VALUE, Kind
from engine.outputs import Reason, Reject
from schemas.binary import Refused
from schemas.check import NO_TIME_NS, TIME_RULE, Raw, good_device, label, shown
from schemas.grouping import grouped
from schemas.models import Chunk, Named
from schemas.wire import CHUNKS_MAX, VERSION

_I8_MIN: Final = -(2**63)
_I8_MAX: Final = 2**63 - 1
_U1_MAX: Final = 255
_TOO_DEEP: Final = "the JSON is nested far deeper than a chunk can be"

_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])


def read_text(payload: bytes) -> tuple[list[Raw], list[Reject]]:
    """Blocks of the chunks that can be read, and a Reject for each that cannot. Raises Refused for a whole message."""
    parts = _elements(payload) if payload.lstrip()[:1] == b"[" else [payload]
    raws: list[Raw] = []
    rejects: list[Reject] = []
    for part in parts:
        try:
            raws.append(_read_chunk(part))
        except _RefusedChunk as refused:
            rejects.append(Reject(refused.reason, refused.detail, refused.device, refused.kind, refused.readings, part))
    return [_joined([raws[i] for i in group]) for group in grouped((_form(raw), (raw.devices[0], raw.kind)) for raw in raws)], rejects


class _RefusedChunk(Refused):
    def __init__(self, reason: Reason, detail: str, device: str = "", kind: str = "", readings: int = 0) -> None:
        super().__init__(reason, detail)
        self.device = device
        self.kind = kind
        self.readings = readings


def _elements(payload: bytes) -> list[bytes]:
    try:
        parts = _ARRAY.decode(payload)
    except RecursionError as error:
        raise Refused(Reason.MALFORMED, _TOO_DEEP) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if "truncated" in str(error):
            raise Refused(Reason.TRUNCATED, f"the JSON array ends after {len(payload)} bytes, before it is closed") from error
        raise Refused(Reason.MALFORMED, f"the message starts like a JSON array but is none: {error}") from error
    if len(parts) > CHUNKS_MAX:
        raise Refused(Reason.TOO_LARGE, f"the array holds {len(parts)} chunks, at most {CHUNKS_MAX} are allowed: send several messages")
    if not parts:
        raise Refused(Reason.BAD_SHAPE, "the array holds no chunk: leave the message out when there is nothing to say")
    return [bytes(part) for part in parts]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedChunk(Reason.MALFORMED, f"the field {shown(twice)} is there twice: say it once")
    return found


def _no_constant(name: str) -> NoReturn:
    if name == "NaN":
        raise _RefusedChunk(Reason.MALFORMED, "NaN is not JSON: send null for what was not measured")
    raise _RefusedChunk(Reason.NON_FINITE, f"{name} is not JSON and no measurement: send null for what was not measured")


def _parse(part: bytes) -> dict[str, Any]:
    try:
        found = json.loads(part.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except _RefusedChunk:
        raise
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
            raise _RefusedChunk(Reason.TRUNCATED, f"the JSON ends after {len(part)} bytes, before it is complete") from error
        raise _RefusedChunk(Reason.MALFORMED, f"the message is not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise _RefusedChunk(Reason.MALFORMED, _TOO_DEEP) from error
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        raise _RefusedChunk(Reason.MALFORMED, f"the message is not JSON: {str(error).split(';', maxsplit=1)[0]}") from error
    if not isinstance(found, dict):
        raise _RefusedChunk(Reason.WRONG_TYPE, f"a chunk is {shown(found)}: it must be a JSON object")
    return found


def _read_chunk(part: bytes) -> Raw:
    found = _parse(part)
    device = label(found["device"]) if isinstance(found.get("device"), str) else ""
    kind = label(found["kind"]) if isinstance(found.get("kind"), str) else ""
    samples = found.get("samples")
    readings = len(samples) if isinstance(samples, list) else 1 if isinstance(found.get("values"), dict) else 0
    try:
        return _raw(_chunk(found), part)
    except Refused as refused:
        raise _RefusedChunk(refused.reason, refused.detail, device, kind, readings) from refused


def _chunk(found: dict[str, Any]) -> Chunk:
    v = found.get("v")
    if isinstance(v, int) and not isinstance(v, bool) and v != VERSION:
        raise Refused(Reason.UNKNOWN_VERSION, f"v is {shown(v)}, this Vigil reads v {VERSION}")
    try:
        return Chunk.model_validate(found)
    except ValidationError as error:
        first = max(error.errors(include_url=False, include_context=False), key=lambda e: len(e["loc"]))
        place = ".".join(str(step) for step in first["loc"] if not str(step).startswith(("list[", "fail", "float", "literal[")))
        raise Refused(Reason.WRONG_TYPE, f"field {shown(place)}: {_advice(first['type'], first['msg'], first.get('input'))}") from error


def _advice(code: str, message: str, value: object) -> str:
    if code == "extra_forbidden":
        return "this field is not in the contract; check its spelling, and that v is the version it belongs to"
    if code == "missing":
        return "it is missing"
    return f"{message[0].lower()}{message[1:]}, got {shown(value)}"


def _raw(chunk: Chunk, part: bytes) -> Raw:
    kind = KINDS.get(chunk.kind)
    if kind is None:
        raise Refused(Reason.UNKNOWN_KIND, f"kind {shown(chunk.kind)} is unknown; known are {', '.join(KINDS)}")
    t0_ns = chunk.t0_ns
    if not _I8_MIN <= t0_ns <= _I8_MAX:
        if kind.timing != "irregular":
            raise Refused(Reason.BAD_TIME, f"t0_ns is {shown(chunk.t0_ns)}: {TIME_RULE}")
        t0_ns = NO_TIME_NS
    if not _I8_MIN <= chunk.seq <= _I8_MAX:
        raise Refused(Reason.WRONG_TYPE, f"seq is {shown(chunk.seq)}: it must fit 64 bits")
    if not 0 <= chunk.quality <= _U1_MAX:
        raise Refused(Reason.WRONG_TYPE, f"quality is {shown(chunk.quality)}: it must be from 0 to 7")
    samples = _samples(chunk, kind)
    return Raw(
        kind=chunk.kind,
        unit=chunk.unit,
        rate_hz=chunk.rate_hz,
        scale=1.0,
        shape=_shape(chunk, kind, samples.shape[1]),
        devices=(chunk.device,),
        t0_ns=np.array([t0_ns], np.int64),
        seq=np.array([chunk.seq], np.int64),
        quality=np.array([chunk.quality], np.uint8),
        samples=samples[None],
        payload=lambda _row: part,
        unreadable=() if good_device(chunk.device) else (0,),
    )


def _shape(chunk: Chunk, kind: Kind, c: int) -> tuple[int, int]:
    grid = kind.dtype is np.uint16
    if grid != ("shape" in chunk.model_fields_set):
        raise Refused(Reason.BAD_SHAPE, f"{kind.name} {'needs' if grid else 'has no'} field shape ([rows, columns] of a pressure_map)")
    if not grid:
        return 1, c
    if len(chunk.shape) != 2:
        raise Refused(Reason.BAD_SHAPE, f"shape has {len(chunk.shape)} numbers, it must have two: [rows, columns]")
    return chunk.shape[0], chunk.shape[1]


def _samples(chunk: Chunk, kind: Kind) -> NDArray[np.float64]:
    """(n, c), NaN where nothing was measured."""
    if ("samples" in chunk.model_fields_set) == ("values" in chunk.model_fields_set):
        raise Refused(Reason.WRONG_TYPE, "a chunk has either samples or values: send exactly one of them")
    if "values" in chunk.model_fields_set:
        return _named(chunk.values, kind)
    try:
        samples = np.array(chunk.samples, np.float64)
    except ValueError as error:  # rows of different lengths
        raise Refused(Reason.BAD_SHAPE, "the lists in samples have different lengths: every sample needs one value per channel") from error
    if not samples.size:
        raise Refused(Reason.BAD_SHAPE, f"a chunk of {kind.name} holds no sample: leave the message out when there is nothing to say")
    if samples.ndim == 1 and len(kind.channels) in {0, 1} and kind.dtype is not np.uint16:
        return samples[:, None]
    if samples.ndim != 2:
        names = ", ".join(entry.name for entry in kind.channels) or "one value per channel"
        raise Refused(Reason.BAD_SHAPE, f"samples of {kind.name} must be a list of lists, each of them: {names}")
    return samples


def _named(values: dict[str, Named], kind: Kind) -> NDArray[np.float64]:
    names = [entry.name for entry in kind.channels]
    if not names:
        raise Refused(Reason.WRONG_TYPE, f"{kind.name} has no named channels: send samples instead of values")
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise Refused(Reason.WRONG_TYPE, f"{kind.name} has no channel {shown(unknown[0])}; it has {', '.join(names)}")
    if not values:
        raise Refused(Reason.BAD_SHAPE, "values is empty: leave the message out when nothing was measured")
    # A channel that is left out was not measured; one that is there without a number says "no value", and that is counted.
    none = NO_VALUE if kind.coded else np.nan
    found = [values.get(name, np.nan) for name in names]
    return np.array([[none if value is None or isinstance(value, str) else value for value in found]], np.float64)


def _form(raw: Raw) -> tuple[Any, ...]:
    return raw.kind, raw.unit, raw.rate_hz, raw.samples.shape[1:], raw.shape


def _joined(raws: list[Raw]) -> Raw:
    """Chunks of one form as one Raw."""
    first = raws[0]
    if len(raws) == 1:
        return first
    parts = [raw.payload(0) for raw in raws]
    return first._replace(
        devices=tuple(raw.devices[0] for raw in raws),
        t0_ns=np.concatenate([raw.t0_ns for raw in raws]),
        seq=np.concatenate([raw.seq for raw in raws]),
        quality=np.concatenate([raw.quality for raw in raws]),
        samples=np.concatenate([raw.samples for raw in raws]),
        payload=lambda row: parts[row],
        unreadable=tuple(row for row, raw in enumerate(raws) if raw.unreadable),
    )
