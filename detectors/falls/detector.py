"""Decides from one worn accelerometer whether its wearer has fallen."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.falls.events import EVENTS, FALL
from detectors.falls.kernel import (
    ACTIVITY,
    BIN_FIELDS,
    BIN_S,
    MINUTE_BINS,
    MINUTE_FIELDS,
    RATE_HZ_MIN,
    RING,
    SUM_FIELDS,
    FallLimits,
    FallState,
    Found,
    Personal,
    run,
)
from detectors.falls.params import FallParams
from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection
from engine.frame import NS_PER_S, Frame, frame
from engine.watch import Hazard, Line, Signal

FEATURE: Final = "feature.activity"
FROZEN_S: Final = 300.0
"""A sensor that is alive has noise, and a body breathes: a tilt of 1 degree is 17 mg, one step of an 8-bit sensor (1/64 g). All three axes
the same to the last digit in every sample for so long are a sensor that hangs, or one that nobody wears."""
_MS: Final = 1_000_000
_VALUES: Final = ("peak_g", "impulse_g_s", "rotation_deg", "still_g")
_DECIMALS: Final = 3


def _whole_ms(t_ns: int) -> int:
    """Nearest millisecond: a chunk's t0 carries up to 1 ns of rounding, which must not change the identity of an event."""
    return (t_ns + _MS // 2) // _MS * _MS


class FallDetector(Detector[FallParams, FallState]):
    """A fall is an impact, a body that lies differently than before, and stillness, in that order.

    Input: "accel" frames, float32 (k, n, 3) in g, any mounting (waist, wrist, chest, pendant), 10 Hz or faster; slower
    streams are not judged. When a second of stillness ends, the kernel looks back for the impact that came before it and multiplies three
    pieces of evidence: impulse of the impact, turn of the sensor against gravity, and stillness; see README.md.
    Event: falls.fall, onset at the 0.1 s bin of the impact; never cleared by the detector.
    Feature: "feature.activity", one row a slot and minute of stream.
    Warm-up 3 s of data; latency: settling and stillness, at most 2.5 s after the impact with the default parameters.
    Sources: Sucerquia et al., Sensors 2017;17:198 (SisFall); Kangas et al., Gait & Posture 2008;28:285 (impact, posture,
    thresholds); Bourke & Lyons, Med Eng Phys 2008;30:84 (change of trunk angle). Changed: bins instead of filters, no fixed
    axis, and a product of evidence instead of a chain of limits.

    >>> from detectors.falls.examples import negative, positive
    >>> fires, quiet = FallDetector(), FallDetector()
    >>> sorted({found.code for frame in positive() for found in fires.step(frame).detections})
    ['falls.fall']
    >>> [found for frame in negative() for found in quiet.step(frame).detections]
    []
    """

    spec: ClassVar[Spec] = Spec(
        name="falls",
        state_version=1,
        kinds=("accel",),
        events=EVENTS,
        latency_bound_s=5.0,
        warmup_s=3.0,
        references=(
            "Sucerquia A, et al. SisFall: a fall and movement dataset. Sensors 2017;17:198. doi:10.3390/s17010198",
            "Kangas M, et al. Comparison of low-complexity fall detection algorithms. Gait & Posture 2008;28:285-291. doi:10.1016/j.gaitpost.2008.01.003",
            "Bourke AK, Lyons GM. Fall detection with a bi-axial gyroscope sensor. Med Eng Phys 2008;30:84-90. doi:10.1016/j.medengphy.2006.12.001",
            "Palmerini L, et al. Accelerometer-based fall detection using machine learning (FARSEEING). Sensors 2020;20:6479. doi:10.3390/s20226479",
        ),
        overridable=("impact_g", "impulse_g_s", "rotation_deg"),
        features={FEATURE: ACTIVITY},
        watches={
            "accel": (
                Signal(
                    Hazard.FALL,
                    "acceleration",
                    line=Line.ZERO,
                    frozen_s=FROZEN_S,
                    rate_hz_min=RATE_HZ_MIN,
                    share_min=0.75,
                    hole_s=1.0,
                    restart_s=3.0,
                ),
            )
        },
    )
    params_type = FallParams

    def __init__(self, params: FallParams | None = None, capacity: int = 64) -> None:
        super().__init__(params, capacity)
        p = self.params
        self._limits = FallLimits(
            rotation_deg_min=p.rotation_deg_min,
            still_g=p.still_g,
            still_g_max=max(p.still_g, p.still_g_max),
            settle_bins=round(p.settle_s / BIN_S),
            still_bins=round(p.still_s / BIN_S),
            contrast_ratio=p.contrast_ratio,
            abrupt_bins=round(p.abrupt_s / BIN_S),
            gap_ns_max=round(p.gap_bridge_s * NS_PER_S),
            refractory_ns=round(p.refractory_s * NS_PER_S),
        )

    def initial_state(self, capacity: int) -> FallState:
        """Slots without a stream."""
        return FallState(
            rate_hz=np.zeros(capacity),
            phase=np.zeros(capacity),
            bins=np.zeros(capacity, np.int64),
            since_impact=np.full(capacity, RING, np.int32),
            latched_until_ns=np.zeros(capacity, np.int64),
            sums=np.zeros((capacity, SUM_FIELDS)),
            ring=np.zeros((capacity, RING, BIN_FIELDS), np.float32),
            minute=np.zeros((capacity, MINUTE_FIELDS)),
        )

    def step(self, frame: Frame) -> StepResult:
        """Take one "accel" frame."""
        found = self._room(frame)
        personal = Personal(self.columns["impact_g"], self.columns["impulse_g_s"], self.columns["rotation_deg"])
        run(
            self.state,
            frame.slot,
            frame.t0_ns,
            frame.rate_hz,
            frame.samples,
            frame.gap_ns,
            frame.valid,
            personal,
            self._limits,
            found,
        )
        falls, minutes = found.counts
        if not (falls or minutes):
            return NOTHING
        return StepResult([_detection(found, row) for row in range(falls)], _features(found, int(minutes)))

    def _room(self, frame: Frame) -> Found:
        """Output rows enough for this frame: at most one fall and one minute a slot in the shorter of the two periods."""
        size, length = frame.samples.shape[:2]
        spacing_s = min(self.params.refractory_s, MINUTE_BINS * BIN_S)
        seconds = length / frame.rate_hz if frame.rate_hz > 0 else 0.0
        rows = size * (2 + int((seconds + self.params.gap_bridge_s) / spacing_s))
        return Found(
            np.empty(rows, np.int32),
            np.empty((rows, 2), np.int64),
            np.empty((rows, 1 + len(_VALUES))),
            np.empty(rows, np.int32),
            np.empty(rows, np.int64),
            np.empty((rows, len(ACTIVITY)), np.float32),
            np.zeros(2, np.int64),
        )


def _detection(found: Found, row: int) -> Detection:
    strength = float(found.fall[row, 0])
    values = {name: round(float(found.fall[row, 1 + i]), _DECIMALS) for i, name in enumerate(_VALUES)}
    onset_ns, decided_ns = (_whole_ms(int(t)) for t in found.fall_ns[row])
    # strength 1 is the limit itself: odds of 1:1
    score = round(strength / (1.0 + strength), _DECIMALS)
    return Detection(int(found.fall_slot[row]), FALL, onset_ns, decided_ns, score, "onset", values)


def _features(found: Found, minutes: int) -> list[Frame]:
    """Rows to frames; a chunk longer than a minute gives a slot several rows, which must not share a frame."""
    frames: list[Frame] = []
    left = list(range(minutes))
    while left:
        taken: dict[int, int] = {}
        for row in left:
            taken.setdefault(int(found.minute_slot[row]), row)
        rows = list(taken.values())
        ends = [_whole_ms(int(found.minute_ns[row])) for row in rows]
        frames.append(frame(FEATURE, list(taken), ends, 1.0 / (MINUTE_BINS * BIN_S), found.minute[rows][:, np.newaxis, :]))
        left = [row for row in left if row not in rows]
    return frames
