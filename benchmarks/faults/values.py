"""Faults of what is measured: units, codes for "no value", dead sensors, samples left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from benchmarks.faults.case import Case
from benchmarks.faults.fault import (
    GAPS,
    NO_SIGNAL,
    NO_VALUE,
    QUALITY,
    RATE,
    REFUSED,
    SILENT,
    UNIT,
    Apply,
    Fault,
    Scene,
    measuring,
    readings,
    regular,
    waveform,
)
from benchmarks.faults.stream import Chunk, Samples
from engine.frame import NS_PER_S
from engine.kinds import KINDS, channel

GROUND: Final = 9.80665
BAD: Final = -999.0

Change = Callable[[Samples], Samples]


def changed(change: Change) -> Apply:
    """Values changed from the first chunk on."""
    return lambda chunks, _: [c._replace(samples=change(c.samples)) for c in chunks]


def from_then(change: Callable[[Chunk, Chunk], Chunk]) -> Apply:
    """Chunks changed once the fault begins; `change` gets the last good chunk and the one to change."""

    def apply(chunks: Sequence[Chunk], scene: Scene) -> Iterator[Chunk]:
        last = chunks[0]
        for chunk in chunks:
            if chunk.t0_ns < scene.begin_ns:
                last = chunk
                yield chunk
            else:
                yield change(last, chunk)

    return apply


def filled(value: float) -> Apply:
    """Only `value`, in every channel that was measured."""
    return from_then(lambda _, c: c._replace(samples=np.where(np.isnan(c.samples), np.nan, value)))


def _all_null(_: Chunk, chunk: Chunk) -> Chunk:
    return chunk._replace(samples=np.full_like(chunk.samples, np.nan))


def _stuck(last: Chunk, chunk: Chunk) -> Chunk:
    return chunk._replace(samples=np.repeat(last.samples[-1:], len(chunk.samples), axis=0))


def _saturated(_: Chunk, chunk: Chunk) -> Chunk:
    kind = KINDS[chunk.kind]
    high = np.array([c.high for c in kind.channels] or [kind.wide[1]], np.float64)
    if chunk.shape is not None:
        high = np.array([4095.0])
    return chunk._replace(samples=np.where(np.isnan(chunk.samples), np.nan, high))


def _text(_: Chunk, chunk: Chunk) -> Chunk:
    return chunk._replace(more={"samples": [["unavailable"] * chunk.samples.shape[1] for _ in chunk.samples]})


def _every_second(change: Callable[[Chunk, Chunk], Chunk]) -> Apply:
    def apply(chunks: Sequence[Chunk], _: Scene) -> list[Chunk]:
        return [change(c, c) if number % 2 else c for number, c in enumerate(chunks)]

    return apply


def one_bad_value(chunks: Sequence[Chunk], scene: Scene) -> Iterator[Chunk]:
    """One impossible value in each chunk, beside good ones."""
    codes = scene.case.codes
    for chunk in chunks:
        samples = chunk.samples.copy()
        if len(samples) > 1:
            samples[scene.rng.integers(len(samples)), 0] = BAD
        else:
            samples[0, _unwatched(chunk, codes)] = BAD
        yield chunk._replace(samples=samples)


def _unwatched(chunk: Chunk, codes: frozenset[str]) -> int:
    """A channel that does not carry the danger, or the last one."""
    if chunk.kind == "vitals":
        return channel("vitals", "respiration_per_min" if not any("respiration" in code for code in codes) else "spo2_percent")
    if chunk.kind == "room_air":
        return channel("room_air", "humidity_percent")
    return int(chunk.samples.shape[1]) - 1


def several_channels(case: Case) -> bool:
    """Whether a bad value leaves good ones beside it."""
    return regular(case) and case.chunks[0].shape is None and (waveform(case) or case.kind in {"vitals", "room_air"})


_LARGE: Final[dict[str, tuple[Change, str]]] = {
    "accel": (lambda v: v * GROUND, "m/s² sent as g"),
    "ecg": (lambda v: v * 1000, "µV sent as mV"),
    "rr_interval": (lambda v: v * 1000, "µs sent as ms"),
    "vitals": (lambda v: np.where(np.arange(v.shape[1]) == channel("vitals", "spo2_percent"), v * 10, v), "tenths sent as wholes"),
    "bed": (lambda v: v * 100, "percent sent as fractions"),
    "room_air": (lambda v: v * np.array([100, 1000, 1, 1]) + np.array([0, 0, 273.15, 0]), "%/m as 1/m, ppb as ppm, kelvin as °C"),
    "electrical": (lambda v: v * 1000, "µA sent as mA"),
}
_SMALL: Final[dict[str, tuple[Change, str]]] = {
    "accel": (lambda v: v / GROUND, "g scaled as if it were m/s²"),
    "ecg": (lambda v: v / 1000, "V sent as mV"),
    "rr_interval": (lambda v: v / 1000, "s sent as ms"),
    "vitals": (lambda v: v / 100, "fractions sent as percent"),
    "pressure_map": (lambda v: np.floor(v / 100), "counts scaled down"),
}
_COARSE: Final[dict[str, float]] = {
    "accel": 1 / 16,
    "ecg": 0.02,
    "vitals": 1.0,
    "room_air": 0.01,
    "electrical": 1.0,
    "rr_interval": 8.0,
    "bed": 0.1,
}


def of_kind(table: dict[str, tuple[Change, str]]) -> Apply:
    """The change that `table` has for the stream's kind."""
    return lambda chunks, scene: [c._replace(samples=table[scene.case.kind][0](c.samples)) for c in chunks]


def coarse(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """Few bits."""
    step = _COARSE[scene.case.kind]
    return [c._replace(samples=np.round(c.samples / step) * step) for c in chunks]


def turned(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """A belt worn upside down, electrodes changed over."""
    if scene.case.kind == "accel":
        return [c._replace(samples=-c.samples[:, [2, 1, 0]]) for c in chunks]
    return [c._replace(samples=-c.samples) for c in chunks]


def noisy(chunks: Sequence[Chunk], scene: Scene) -> list[Chunk]:
    """Flagged by the device itself as not to be trusted."""
    before, after = scene.cut(chunks)
    return [*before, *(c._replace(quality=1) for c in after)]


_UNFIT: Final = (NO_VALUE, REFUSED, UNIT, NO_SIGNAL, QUALITY)
"""What may be said of a device that sends codes instead of values."""


def _no_value(code: float, device: str) -> Fault:
    applies = measuring if code else not_a_bed
    return Fault(f"only {code:g}", "values", device, filled(code), frozenset(_UNFIT), applies=applies, call=True)


def not_a_bed(case: Case) -> bool:
    """All zeros are a bed in which nobody lies."""
    return measuring(case) and case.kind not in {"bed", "pressure_map"}


def not_readings(case: Case) -> bool:
    """Signals that never stand still while a sensor lives."""
    return measuring(case) and not readings(case)


def stuck_for_a_day(chunks: Sequence[Chunk], scene: Scene) -> Iterator[Chunk]:
    """Hangs, and repeats its last reading once a minute."""
    last = chunks[0]
    for chunk in chunks:
        if chunk.t0_ns < scene.begin_ns:
            last = chunk
            yield chunk
        elif chunk.t0_ns >= last.t0_ns + 60 * NS_PER_S:
            last = _stuck(last, chunk)
            yield last


VALUES: Final = (
    Fault(
        "unit too large",
        "values",
        "m/s² as g, µV as mV, kelvin as °C, ppb as ppm",
        of_kind(_LARGE),
        frozenset({UNIT, REFUSED, NO_VALUE, NO_SIGNAL}),
        applies=lambda case: case.kind in _LARGE,
        call=True,
    ),
    Fault(
        "unit too small",
        "values",
        "V as mV, s as ms, a fraction as percent",
        of_kind(_SMALL),
        frozenset({UNIT, REFUSED, NO_VALUE, NO_SIGNAL}),
        applies=lambda case: case.kind in _SMALL,
        call=True,
    ),
    _no_value(0.0, "probe off, firmware fills with 0"),
    _no_value(-100.0, "code of a home-automation bridge"),
    _no_value(127.0, "SpO₂ not available, one byte (BLE oximeters)"),
    _no_value(255.0, "no finger, one byte (ISO/IEEE 11073)"),
    _no_value(999.0, "placeholder of a data logger"),
    _no_value(32767.0, "0x7FFF, invalid in 16 bits"),
    _no_value(-32768.0, "0x8000, invalid in 16 bits"),
    Fault("only null", "values", "sensor off, gateway lives", from_then(_all_null), frozenset(_UNFIT), applies=measuring, call=True),
    Fault(
        "only the word unavailable",
        "values",
        "state of a home-automation bridge",
        from_then(_text),
        frozenset(_UNFIT),
        applies=measuring,
        call=True,
    ),
    Fault(
        "every second chunk null",
        "values",
        "loose contact",
        _every_second(_all_null),
        frozenset({NO_VALUE, QUALITY, NO_SIGNAL, SILENT, GAPS}),
        applies=measuring,
    ),
    Fault(
        "one bad value in each chunk",
        "values",
        "a code in one channel or sample",
        one_bad_value,
        frozenset({UNIT, REFUSED, NO_VALUE}),
        applies=several_channels,
    ),
    Fault(
        "stuck at the last value",
        "values",
        "sensor hangs, firmware repeats",
        from_then(_stuck),
        frozenset({NO_SIGNAL, QUALITY, NO_VALUE}),
        applies=not_readings,
        call=True,
    ),
    Fault(
        "the same reading for a day",
        "values",
        "sensor hangs, firmware repeats",
        stuck_for_a_day,
        frozenset({NO_SIGNAL, QUALITY, NO_VALUE}),
        applies=readings,
        call=True,
        blind_s=26 * 3600.0,
    ),
    Fault(
        "saturated",
        "values",
        "input at its stop",
        from_then(_saturated),
        frozenset({NO_SIGNAL, QUALITY, NO_VALUE, REFUSED, UNIT}),
        applies=measuring,
        call=True,
    ),
    Fault("flagged as poor", "values", "off the body, lead off", noisy, frozenset({QUALITY, NO_SIGNAL}), applies=measuring, call=True),
    Fault(
        "few bits",
        "values",
        "8-bit converter, rounded readings",
        coarse,
        frozenset({RATE, SILENT}),
        costless=True,
        applies=lambda case: case.kind in _COARSE,
    ),
    Fault(
        "worn the wrong way round",
        "values",
        "belt upside down, electrodes changed over",
        turned,
        frozenset({RATE, SILENT}),
        costless=True,
        applies=lambda case: case.kind in {"accel", "ecg"},
    ),
)
