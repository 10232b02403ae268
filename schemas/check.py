"""Judges chunks of either form by the rules of their kind, and brings them into the canonical unit: the only place for both.

Everything is judged for the whole block at once; only a block that holds something bad is looked at chunk by chunk. A bad
chunk is cut out with its reason, a bad value out of its chunk (`schemas.values`); what is beside it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.block import NO_SEQ, QUALITY_CHARGER, QUALITY_POOR, QUALITY_TEST, Block
from engine.frame import NS_PER_S, Int64, UInt8
from engine.kinds import KINDS, MISSING_MAP, RATE_SINGLE_HZ_MAX, Kind
from engine.outputs import Reason, Reject
from schemas.encode import take
from schemas.kernel import SUSPICIOUS, suspicious
from schemas.values import LIMITS, look
from schemas.wire import CHUNKS_MAX, MISSING_I2, MISSING_U2, TEXT_BYTES_MAX

T_MAX_NS: Final = 9_000_000_000_000_000_000
"""Latest t0 that is a time at all (March 2255): int64 nanoseconds end in 2262, and every chunk must end before that."""
NO_TIME_NS: Final = 0
"""Stands for a t0 that is no time at all in a kind whose chunks are moments: a press is taken whatever the clock says (engine/instants.py)."""
TIME_RULE: Final = (
    f"it must be UTC nanoseconds since 1970-01-01, {datetime.fromtimestamp(T_MAX_NS // NS_PER_S, UTC):%Y-%m-%d} at the latest"
)
"""What a sentence says about a t0 that is no time."""
QUALITY_BITS: Final = QUALITY_POOR | QUALITY_TEST | QUALITY_CHARGER
_MISSING: Final = {"float64": "null", "float32": "NaN", "int16": f"{MISSING_I2}", "uint16": f"{MISSING_U2}"}
"""What "not measured" is in samples of each type (float64: JSON); uint8 has none."""
SHOWN_MAX: Final = 40
"""Characters of a received value that a sentence repeats."""


class Raw(NamedTuple):
    """k chunks as they came, sizes already consistent: the arrays of a Block, before units, ranges and rules.

    `samples` (k, n, c) in the wire's own type, float64 from JSON; a value in `unit` is `samples * scale`. `unreadable`:
    rows whose device id was not UTF-8. `payload(row)` gives the bytes of one chunk.
    """

    kind: str
    unit: str
    rate_hz: float
    scale: float
    shape: tuple[int, int]
    devices: tuple[str, ...]
    t0_ns: Int64
    seq: Int64
    quality: UInt8
    samples: NDArray[Any]
    payload: Callable[[int], bytes]
    unreadable: tuple[int, ...] = ()


class Judged(NamedTuple):
    """What is left of the chunks (None: nothing), and why the others are not.

    `partly`: chunks of the block of which single values were taken out, and why; their readings are not refused and count as 0 here.
    """

    block: Block | None
    rejects: list[Reject]
    partly: list[Reject]


def shown(value: object) -> str:
    """A received value as a sentence may repeat it: printable and short."""
    text = ascii(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def label(text: str) -> str:
    """A device or kind name that is safe to count and show: bounded, printable."""
    cut = text[:TEXT_BYTES_MAX]
    return cut if cut.isprintable() else ascii(cut)[1:-1][:TEXT_BYTES_MAX]


def good_device(device: str) -> bool:
    """1 to 128 printable characters (so no control characters, no lone surrogates)."""
    return 0 < len(device) <= TEXT_BYTES_MAX and device.isprintable()


_NO_VALUES: Final = np.zeros((0, 1, 1), np.float32)


def judge(raw: Raw, *, keep: bool = False) -> Judged:
    """The Block of all good chunks in canonical units, a Reject for each bad one, and one for each of which single values were taken out.

    `keep`: leave codes and wrong values in the chunks that go on (`schemas.values.look`), for a reader behind this one to judge and count.
    """
    refusal = _rule_broken(raw)
    if refusal is not None:
        reason, detail = refusal
        return Judged(None, [_reject(raw, row, reason, detail) for row in range(len(raw.devices))], [])
    kind = KINDS[raw.kind]
    if kind.timing == "irregular":
        raw = raw._replace(t0_ns=np.where((raw.t0_ns < 0) | (raw.t0_ns > T_MAX_NS), NO_TIME_NS, raw.t0_ns))
    limits = LIMITS[raw.kind]
    samples = _canonical(raw, kind)
    values = _NO_VALUES if samples.dtype == np.uint16 else samples  # a cell that came as an unsigned integer cannot be out of range
    flat = values.reshape(-1, values.shape[2])
    seen = suspicious(raw.t0_ns, raw.seq, raw.quality, flat, limits.usual_low, limits.usual_high, T_MAX_NS, NO_SEQ, QUALITY_BITS)
    no_value = np.isnan(values).all(axis=2).sum(axis=1) if seen else None
    bad: dict[int, tuple[Reason, str]] = {}
    partly: dict[int, tuple[Reason, str]] = {}
    channels: dict[int, tuple[str, ...]] = {}
    if seen & SUSPICIOUS or raw.unreadable:
        looked = look(kind, values, _factor(raw, kind), keep=keep)
        bad, partly, channels = looked.refused, looked.partly, looked.channels
        if keep and kind.dtype is np.uint16:  # a cell has no room for what is kept: the reader behind gets the chunk as it came
            bad, partly = bad | partly, {}
        if not keep and looked.no_value.size:
            no_value = looked.no_value if no_value is None else no_value + looked.no_value
        _look_at_rows(raw, bad)
    if kind.dtype is np.uint16 and samples.dtype != np.uint16:
        samples = _cells(samples)
    if no_value is not None and (keep or not no_value.any()):
        no_value = None
    quality = raw.quality
    if quality.any():  # on its charger it measures nobody, whatever it sends
        quality = np.where(quality & QUALITY_CHARGER, quality | QUALITY_POOR, quality).astype(np.uint8)
    block = Block(raw.kind, raw.devices, raw.t0_ns, raw.seq, raw.rate_hz, samples, quality, raw.shape, no_value)
    cut = [
        _reject(raw, row, reason, f"{detail}; it is taken for not measured", readings=0)._replace(channels=channels.get(row, ()))
        for row, (reason, detail) in partly.items()
        if row not in bad
    ]
    if not bad:
        return Judged(block, [], cut)
    rejects = [_reject(raw, row, *bad[row]) for row in sorted(bad)]
    rows = [row for row in range(len(raw.devices)) if row not in bad]
    return Judged(take(block, np.array(rows)) if rows else None, rejects, cut)


def single(kind: Kind) -> bool:
    """Whether a single reading of the kind may leave out its rate, which is then 0 in the Block: the engine measures the interval."""
    return kind.timing == "regular" and kind.rate_hz_min <= RATE_SINGLE_HZ_MAX


def _reject(raw: Raw, row: int, reason: Reason, detail: str, readings: int | None = None) -> Reject:
    count = raw.samples.shape[1] if readings is None else readings
    return Reject(reason, detail, label(raw.devices[row]), label(raw.kind), count, raw.payload(row))


def _rule_broken(raw: Raw) -> tuple[Reason, str] | None:
    """Why no chunk of the block can be good, if so."""
    kind = KINDS.get(raw.kind)
    if kind is None:
        return Reason.UNKNOWN_KIND, f"kind {shown(raw.kind)} is unknown; known are {', '.join(KINDS)}"
    k, n, _ = raw.samples.shape
    if k > CHUNKS_MAX:
        return Reason.TOO_LARGE, f"a block of {kind.name} holds {k} chunks, at most {CHUNKS_MAX} are allowed: send more, smaller blocks"
    if n > 1 and kind.timing == "irregular":
        return Reason.BAD_SHAPE, f"a chunk of {kind.name} holds {n} samples: it is one moment, t0_ns, so send one sample a chunk"
    if n > kind.samples_max:
        return Reason.TOO_LARGE, f"a chunk of {kind.name} holds {n} samples, at most {kind.samples_max} are allowed: send shorter chunks"
    if raw.unit and raw.unit not in kind.units:
        return Reason.BAD_UNIT, f"unit {shown(raw.unit)} is not one of {kind.name}: {', '.join(kind.units)}"
    if not 0 < raw.scale < np.inf:
        return Reason.BAD_UNIT, f"scale is {raw.scale}: it must be a finite number above 0 (value = raw x scale)"
    if n < 1:
        return Reason.BAD_SHAPE, f"a chunk of {kind.name} holds no sample: leave the message out when there is nothing to say"
    return _bad_rate(raw, kind) or _bad_shape(raw, kind)


def _bad_rate(raw: Raw, kind: Kind) -> tuple[Reason, str] | None:
    rate_hz = raw.rate_hz
    if kind.timing != "regular":
        if rate_hz == 0:
            return None
        return Reason.BAD_RATE, f"rate_hz of {kind.name} is {rate_hz:g}: this kind has no rate, leave it out"
    if kind.rate_hz_min <= rate_hz <= kind.rate_hz_max or (rate_hz == 0 and raw.samples.shape[1] == 1 and single(kind)):
        return None
    said = f"is {rate_hz:g}" if rate_hz else "is missing"
    return Reason.BAD_RATE, f"rate_hz of {kind.name} {said}, allowed are {kind.rate_hz_min:g} to {kind.rate_hz_max:g}"


def _bad_shape(raw: Raw, kind: Kind) -> tuple[Reason, str] | None:
    c = raw.samples.shape[2]
    if kind.channels and c != len(kind.channels):
        names = ", ".join(entry.name for entry in kind.channels)
        missing = _MISSING.get(raw.samples.dtype.name)
        gaps = f" ({missing} if not measured)" if missing else ""
        return Reason.BAD_SHAPE, f"a sample of {kind.name} has {c} values, it must have {len(kind.channels)}: {names}{gaps}"
    if not 1 <= c <= kind.channels_max:
        return Reason.BAD_SHAPE, f"a sample of {kind.name} has {c} values, allowed are 1 to {kind.channels_max}"
    rows, cols = raw.shape
    if kind.dtype is not np.uint16 and raw.shape != (1, c):
        return Reason.BAD_SHAPE, f"{kind.name} has no rows and columns: leave them out"
    if not rows or not cols:
        return Reason.BAD_SHAPE, f"rows and cols are missing or 0: a {kind.name} needs both, rows x cols = {c} values a sample"
    if rows < 1 or cols < 1 or rows * cols != c:
        return Reason.BAD_SHAPE, f"a {kind.name} of {rows} rows x {cols} columns cannot have {c} values a sample"
    return None


def _canonical(raw: Raw, kind: Kind) -> NDArray[Any]:
    """Samples in the canonical unit: float32 with NaN for missing, or uint16 cells that need no conversion.

    Always a fresh array: the message's own memory is neither aligned nor writable, and a kernel compiled for the one must not be
    compiled again for the other. The copy of 50 ECG chunks costs about 1 µs.
    """
    factor = raw.scale * _factor(raw, kind)
    source = raw.samples.dtype
    if factor == 1.0 and kind.dtype is np.uint16 and source.kind == "u":
        return raw.samples.astype(np.uint16)
    if factor == 1.0 and source.kind == "f" and source.itemsize == 4:
        return raw.samples.astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        values = raw.samples.astype(np.float64)
        if source.kind == "i":
            values[raw.samples == MISSING_I2] = np.nan
        elif source == np.uint16:
            values[raw.samples == MISSING_U2] = np.nan
        return (values * factor).astype(np.float32)


def _factor(raw: Raw, kind: Kind) -> float:
    """From the unit of the wire to the canonical one."""
    return kind.units.get(raw.unit, 1.0)


def _cells(values: NDArray[Any]) -> NDArray[Any]:
    """Pressure cells as uint16; those of chunks that are being refused may hold anything."""
    cells = np.where(np.isnan(values), MISSING_MAP, np.clip(values, 0, MISSING_MAP))
    return np.asarray(np.rint(cells), np.uint16)


def _look_at_rows(raw: Raw, bad: dict[int, tuple[Reason, str]]) -> None:
    """Device ids, times, numbers and flags, chunk by chunk."""
    t0_ns, seq, quality = raw.t0_ns, raw.seq, raw.quality
    for row in np.flatnonzero((t0_ns < 0) | (t0_ns > T_MAX_NS)).tolist():
        bad[row] = (Reason.BAD_TIME, f"t0_ns is {t0_ns[row]}: {TIME_RULE}")
    for row in np.flatnonzero(seq < NO_SEQ).tolist():
        bad[row] = (Reason.WRONG_TYPE, f"seq is {seq[row]}: it must be 0 or more, or left out")
    for row in np.flatnonzero(quality > QUALITY_BITS).tolist():
        bad[row] = (
            Reason.WRONG_TYPE,
            f"quality is {quality[row]}: known flags are 1 (not to be trusted), 2 (test) and 4 (on its charger), so 0 to 7",
        )
    for row in raw.unreadable:
        name = raw.devices[row]
        why = "empty" if not name else f"longer than {TEXT_BYTES_MAX} characters" if len(name) > TEXT_BYTES_MAX else "not printable text"
        bad[row] = (Reason.BAD_DEVICE, f"device id {shown(name)} is {why}: it must be 1 to {TEXT_BYTES_MAX} printable characters")
