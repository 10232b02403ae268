"""Values that are no measurement: a device's own "no value", what no working sensor measures, what is in another unit.

The first becomes a missing value and is counted. The others become missing values too, with a reason, so that they cost nothing but
themselves. A chunk of which too much is wrong is refused whole: what is left of it would be noise. The lists are `engine.kinds`'.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import Bool, Float32, Int64
from engine.kinds import KINDS, NO_VALUE, NO_VALUES, Kind, Scale
from engine.outputs import Reason

WRONG_SHARE_MAX: Final = 0.1
"""A chunk of a waveform, of intervals or of maps is refused whole when more than this share of what it measured is wrong. The channels of
slow kinds have nothing to do with each other: of them everything that is right is used."""
ABSURD: Final = 1e9
"""No sensor's fault, in no unit, but bytes that are damaged or in the wrong order: nothing beside it is to be trusted either."""
EDGE_SHARE: Final = 0.02
"""What is no measurement within this share of the range from its lower end narrows the range from below, anything else from above."""

MG: Final = 1000.0
NEAR: Final = 0.2
ECG_UV_MAX: Final = 20_000.0
"""R waves end at 5 mV; lead movement at some 20."""

Wrong = tuple[Reason, str]

_CODES: Final = np.array(sorted({code for codes in NO_VALUES.values() for code in codes}), np.float64)


class Limits(NamedTuple):
    """The range of each channel (c,), or (1,) when it is one for all of a waveform. `usual_low`, `usual_high`: nothing between them is looked at twice."""

    low: Float32
    high: Float32
    usual_low: Float32
    usual_high: Float32


class Looked(NamedTuple):
    """`no_value` (k,): readings in which a code stood. Rows that are refused, and rows of which single values were taken out, with why; `channels`:
    of these the channels in which they stood."""

    no_value: Int64
    refused: dict[int, Wrong]
    partly: dict[int, Wrong]
    channels: dict[int, tuple[str, ...]]


def _names(kind: Kind, wrong: Bool) -> tuple[str, ...]:
    return tuple(kind.channels[j].name for j in np.flatnonzero(wrong.any(axis=0)).tolist()) if kind.channels else ()


def _usual(entry: Any) -> tuple[float, float]:
    low, high = np.float32(entry.low), np.float32(entry.high)
    edge = entry.low + EDGE_SHARE * (entry.high - entry.low)
    odd = [(code, code) for code in entry.no_value] + [(scale.low, scale.high) for scale in entry.scales if scale.low < entry.high]
    for start, end in odd:
        if end <= edge:
            low = max(low, np.nextafter(np.float32(end), np.float32(np.inf)))
        else:
            high = min(high, np.nextafter(np.float32(start), np.float32(-np.inf)))
    return float(low), float(high)


def _limits(kind: Kind) -> Limits:
    pairs = [(entry.low, entry.high, *_usual(entry)) for entry in kind.channels] or [(*kind.wide, *kind.wide)]
    if len(set(pairs)) == 1 and not kind.stored:  # of slow kinds some channels are nearly always missing, which is no reason to look
        pairs = pairs[:1]
    return Limits(*(np.array(side, np.float32) for side in zip(*pairs, strict=True)))


LIMITS: Final = {name: _limits(kind) for name, kind in KINDS.items()}


def look(kind: Kind, values: NDArray[Any], factor: float, *, keep: bool) -> Looked:
    """Find what is no measurement in `values` (k, n, c), float32 in the canonical unit; what is not refused with its chunk becomes NaN.

    `factor` turned the wire's unit into the canonical one: devices write their codes in their own unit. `keep`: change nothing but the form
    of the codes (NO_VALUE, so that they stay codes in the canonical unit), for a reader behind this one.
    """
    limits = LIMITS[kind.name]
    outside = (values < limits.low) | (values > limits.high)
    if not kind.channels and not outside.any():  # something is missing, and nothing else is odd
        return Looked(np.zeros(values.shape[0], np.int64), {}, {}, {})
    code = _codes(kind, values, outside, factor) if kind.coded else np.zeros_like(outside)
    wrong = (outside | _other_scale(kind, values)) & ~code
    rows = np.flatnonzero(wrong.any(axis=(1, 2)))
    found = {int(row): _said(kind, values[row], wrong[row], outside[row]) for row in rows}
    absurd = (np.abs(values) >= ABSURD) & wrong
    spoiled = {row for row in found if absurd[row].any() or _spoiled(kind, ~np.isnan(values[row]) & ~code[row], wrong[row])}
    if keep:
        values[code] = NO_VALUE
    else:
        values[code | wrong] = np.nan
    return Looked(
        code.any(axis=2).sum(axis=1).astype(np.int64),
        {row: why for row, why in found.items() if row in spoiled},
        {row: why for row, why in found.items() if row not in spoiled},
        {row: _names(kind, wrong[row]) for row in found if row not in spoiled},
    )


def _codes(kind: Kind, values: NDArray[Any], outside: Bool, factor: float) -> Bool:
    code = np.zeros(values.shape, np.bool_)
    code[outside] = np.isin(values[outside], np.append(_CODES * factor, NO_VALUE).astype(np.float32))
    for j, entry in enumerate(kind.channels):
        if entry.no_value:
            code[:, :, j] |= np.isin(values[:, :, j], np.array(entry.no_value, np.float32))
    for j, entry in enumerate(kind.channels):
        if entry.zero_beside:
            other = [channel.name for channel in kind.channels].index(entry.zero_beside)
            beside = ~(np.isnan(values[:, :, other]) | outside[:, :, other] | code[:, :, other])
            code[:, :, j] &= ~(beside & (values[:, :, j] == 0))
    return code


def _other_scale(kind: Kind, values: NDArray[Any]) -> Bool:
    found = np.zeros(values.shape, np.bool_)
    for j, entry in enumerate(kind.channels):
        for scale in entry.scales:
            if scale.low < entry.high:
                found[:, :, j] |= (values[:, :, j] > scale.low) & (values[:, :, j] <= np.float32(scale.high))
    return found


def _spoiled(kind: Kind, measured: Bool, wrong: Bool) -> bool:
    """Whether a chunk (n, c) goes with its wrong values: nothing else is in it, or too many of them."""
    if kind.timing == "irregular":
        return True
    if kind.stored:
        return bool(not (measured & ~wrong).any())
    if kind.dtype is np.uint16:
        count, total = wrong.sum(), measured.sum()
    else:  # the axes of one sample belong together
        count, total = wrong.any(axis=1).sum(), measured.any(axis=1).sum()
    return bool(count > WRONG_SHARE_MAX * total)


def _said(kind: Kind, values: NDArray[Any], wrong: Bool, outside: Bool) -> Wrong:
    """The reason and a sentence about the first wrong value of a chunk (n, c)."""
    i, j = np.argwhere(wrong)[0].tolist()
    value = values[i, j]
    if np.isinf(value):
        return Reason.NON_FINITE, f"a chunk of {kind.name} holds infinity: send what was not measured as null (JSON) or NaN"
    channel = kind.channels[j] if kind.channels else None
    what = f"{kind.name} {channel.name if channel else f'channel {j}'} is {value:g} at sample {i}"
    scale = _scale(channel.scales, float(value)) if channel else None
    looks_like = scale.looks_like if scale else _looks_like(kind, values)
    hint = f"; it looks like {looks_like}" if looks_like else ""
    count = int(wrong.sum())
    more = f" (and {count - 1} more values)" if count > 1 else ""
    if not outside[i, j]:
        return Reason.BAD_UNIT, f"{what}{more}{hint}"
    low, high = (channel.low, channel.high) if channel else kind.wide
    unit = next(iter(kind.units))
    span = f"{low:g} to {high:g}{'' if unit == 'mixed' else f' {unit}'}"
    return Reason.OUT_OF_RANGE, f"{what}{more}, no working sensor measures outside {span}: check unit and scale{hint}"


def _looks_like(kind: Kind, values: NDArray[Any]) -> str:
    """The unit of a waveform (n, c) that is out of range; "" when it is none that is known."""
    if kind.name == "accel":
        norms = np.linalg.norm(values.astype(np.float64), axis=1)
        level = float(np.median(norms[~np.isnan(norms)])) if not np.isnan(norms).all() else 0.0
        if level <= kind.channels[0].high:
            return ""
        near = abs(level - MG) <= NEAR * MG
        return "mg: send g" if near else f"raw counts, some {level:.0f} of them to 1 g: send g"
    if kind.name == "ecg":
        height = float(np.nanmax(np.abs(values)))
        return "uV: say unit uV" if kind.wide[1] < height <= ECG_UV_MAX else ""
    return ""


def _scale(scales: tuple[Scale, ...], value: float) -> Scale | None:
    return next((scale for scale in scales if scale.low < value <= scale.high), None)
