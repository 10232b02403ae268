"""Synthetic electrocardiograms for the conformance suite."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import NS_PER_S, Float64, Frame, frame

RATE_HZ: Final = 125.0
_START_NS: Final = 1_767_225_600 * NS_PER_S
_USUAL_BPM: Final = 72.0
_FAST_BPM: Final = 150.0
_FAST_AT_S: Final = 20.0
_SECONDS: Final = 75
_NOISE_MV: Final = 0.02
# one beat as a sum of Gaussian waves (after McSharry et al., IEEE Trans Biomed Eng 2003;50:289): offset from R s, width s, height mV
WAVES: Final = ((-0.17, 0.025, 0.12), (-0.025, 0.010, -0.12), (0.0, 0.011, 1.1), (0.028, 0.011, -0.25), (0.26, 0.05, 0.3))

EXPECTED: Final = ("heart.tachycardia",)
ONSET_NS: Final = _START_NS + int(_FAST_AT_S * NS_PER_S)


def ecg(beats_s: Float64, seconds: float, rate_hz: float = RATE_HZ, *, noise_mv: float = _NOISE_MV, seed: int = 1) -> Float64:
    """A one-lead electrocardiogram in mV with beats at `beats_s`, shape (n,); the T wave moves with the square root of RR."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    signal = np.random.default_rng(seed).normal(0, noise_mv, t.size) + 0.1 * np.sin(2 * np.pi * 0.25 * t)
    previous = np.diff(beats_s, prepend=beats_s[0] - 0.8 if beats_s.size else 0.0)
    for beat, rr in zip(beats_s, previous, strict=True):
        first, last = int(max(0.0, beat - 0.4) * rate_hz), int((beat + 0.7) * rate_hz)
        part = t[first:last]
        stretch = np.sqrt(rr / 0.8)
        for offset, width, height in WAVES:
            centre = beat + (offset * stretch if abs(offset) > 0.1 else offset)
            signal[first:last] += height * np.exp(-0.5 * ((part - centre) / width) ** 2)
    return signal


def chunks(signal: Float64, rate_hz: float = RATE_HZ, start_ns: int = _START_NS) -> list[Frame]:
    """A signal (n,) or (n, leads) as frames of one second for slot 0."""
    samples = np.asarray(signal, np.float32).reshape(len(signal), -1)
    size = round(rate_hz)
    return [
        frame(
            "ecg",
            [0],
            [start_ns + round(first * NS_PER_S / rate_hz)],
            rate_hz,
            samples[None, first : first + size],
            gap_ns=[-1 if first == 0 else 0],
        )
        for first in range(0, len(samples), size)
    ]


def _beats(fast_bpm: float) -> Float64:
    usual = np.arange(0.5, _FAST_AT_S, 60.0 / _USUAL_BPM)
    return np.concatenate([usual, np.arange(_FAST_AT_S, _SECONDS, 60.0 / fast_bpm)])


def positive() -> list[Frame]:
    """20 s at 72 bpm, then 150 bpm; a second device sends RR intervals for the first seconds."""
    rr = frame("rr_interval", [0], [_START_NS], 0.0, np.full((1, 5, 1), 60_000 / _USUAL_BPM, np.float32), gap_ns=[-1])
    return [rr, *chunks(ecg(_beats(_FAST_BPM), _SECONDS))]


def negative() -> list[Frame]:
    """75 s at 72 bpm."""
    return chunks(ecg(_beats(_USUAL_BPM), _SECONDS))
