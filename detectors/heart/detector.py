"""The heart detector: ECG, RR intervals and vital signs of one resident, one opinion."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import numpy as np

from detectors.heart import kernel, readings
from detectors.heart.events import EVENTS
from detectors.heart.params import HeartParams
from detectors.heart.qrs import Grid, grid
from detectors.heart.rhythm import RR_MS_MAX, RR_MS_MIN
from detectors.heart.state import (
    BEAT_COUNT,
    BEATS_KEPT,
    CALM_NS,
    CODES,
    ECG,
    FEATURES,
    MINUTE_NS,
    NEVER,
    ONSET_NS,
    PER_SLOT,
    QUIET,
    RAISED_BY,
    RR,
    SINCE_NS,
    VALUES,
    VITALS,
    Found,
    HeartLimits,
    HeartState,
    buffers,
    enough,
    initial,
)
from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection
from engine.frame import NS_PER_S, Float64, Frame, Int32, Int64, frame
from engine.watch import FROZEN_FINE_S, Hazard, Line, Signal

FEATURE: Final = "feature.heart"
_FEATURE_RATE_HZ: Final = 1 / 60
_SOURCES: Final = {"ecg": int(ECG), "rr_interval": int(RR), "vitals": int(VITALS)}
CLEAR_LONGEST_S: Final = 900.0
"""What keeps coming back must stay away so long before it is over."""
WORSE: Final = {
    "heart.bradycardia": -10.0,
    "heart.tachycardia": 20.0,
    "heart.atrial_fibrillation": math.inf,
    "heart.spo2_low": -4.0,
    "heart.respiration_low": -2.0,
    "heart.respiration_high": 5.0,
}
"""What may wander about its limit, and by how much its value must be worse to be reported while it does: about twice what the
sensor may err. What stops the heart is reported each time."""
_WORSE: Final = np.array([WORSE.get(code, math.inf) for code in CODES])
KEPT_S: Final = 20_000.0
"""Slots times seconds for which buffers are kept: some 35 MB at most. What comes after hours offline gets its own."""


class HeartDetector(Detector[HeartParams, HeartState]):
    """Decides whether a resident's heart rate, rhythm, oxygen or breathing is dangerous.

    In: `ecg` (k, n, 1..12) mV at 100-1000 Hz, of which the first two leads are used; `rr_interval` (k, n, 1) ms;
    `vitals` (k, n, 6). Out: the nine `heart.*` conditions, each raised once until it clears, and `feature.heart` once a
    minute. All sources of one slot share the latches: the first to confirm a condition raises it, and only that one
    can clear it. Missing, constant and flagged data interrupt what is building up and never clear anything.

    Warm-up: 2 s for beats, 8 beats for rates and asystole, 128 beats for atrial fibrillation. Latency after onset:
    asystole, ventricular tachycardia and fibrillation within 6 s; rates 30 s (parameter) plus 8 beats.
    Methods and papers: `qrs`, `rhythm`, `ventricles` and the README. Raises nothing on valid frames.

    >>> from detectors.heart.examples import negative, positive
    >>> fires, quiet = HeartDetector(), HeartDetector()
    >>> sorted({found.code for frame in positive() for found in fires.step(frame).detections})
    ['heart.tachycardia']
    >>> [found for frame in negative() for found in quiet.step(frame).detections]
    []
    """

    spec: ClassVar[Spec] = Spec(
        name="heart",
        state_version=4,
        kinds=("ecg", "rr_interval", "vitals"),
        events=EVENTS,
        latency_bound_s=60,
        warmup_s=10,
        references=(
            "Pan & Tompkins, IEEE Trans Biomed Eng 1985;32:230. doi:10.1109/TBME.1985.325532",
            "Hamilton, Computers in Cardiology 2002;29:101. doi:10.1109/CIC.2002.1166717",
            "Clifford et al., Physiol Meas 2016;37:E5 (CinC Challenge 2015). doi:10.1088/0967-3334/37/8/E5",
            "Zhou et al., PLoS ONE 2015;10(9):e0136544",
            "Kuo & Dillman, Computers in Cardiology 1978:347",
            "Royal College of Physicians, National Early Warning Score 2, 2017",
        ),
        overridable=PER_SLOT,
        features={FEATURE: FEATURES},
        watches={
            "ecg": (Signal(Hazard.HEART, "heart_rate", line=Line.CONSTANT, share_min=0.75, hole_s=1.0, restart_s=30.0),),
            "rr_interval": (
                Signal(Hazard.HEART, "heart_rate", above=RR_MS_MIN - 1.0, frozen_s=300.0, share_min=0.75, hole_s=1.0, restart_s=30.0),
            ),
            "vitals": (
                Signal(Hazard.HEART, "heart_rate", "heart_rate_bpm", above=0.0, frozen_s=6 * 3600.0, fine_s=FROZEN_FINE_S),
                Signal(Hazard.BREATHING, "respiration", "respiration_per_min", frozen_s=12 * 3600.0, fine_s=FROZEN_FINE_S),
                Signal(Hazard.BREATHING, "oxygen", "spo2_percent", above=0.0, frozen_s=12 * 3600.0, fine_s=FROZEN_FINE_S, rest=100.0),
            ),
        },
    )
    params_type: ClassVar[type[HeartParams]] = HeartParams

    def __init__(self, params: HeartParams | None = None, capacity: int = 64) -> None:
        super().__init__(params, capacity)
        self._turn_ns = _turn_ns(self.params)
        self._limits: HeartLimits | None = None
        self._found = buffers(capacity, 1.0)
        self._grids: dict[float, Grid] = {}  # a cache: a grid depends on the rate alone

    def initial_state(self, capacity: int) -> HeartState:
        """State of slots that have seen nothing."""
        return initial(capacity)

    def step(self, frame: Frame) -> StepResult:
        """Take one frame of ECG, RR intervals or vital signs."""
        state = self.state
        if (limits := self._limits) is None:
            limits = self._limits = self._limits_now()
        k, n = frame.samples.shape[:2]
        seconds = n / frame.rate_hz if frame.rate_hz > 0 else float(n * RR_MS_MAX / 1000)
        # a hole of any length sums up at most the two open minutes
        found = self._found  # used again: nothing in it outlives a call
        if not enough(found, k, seconds):
            found = buffers(k, seconds)
            if k * seconds <= KEPT_S:
                self._found = found
        found.used[:] = 0
        rows = (frame.slot.astype(np.int64), frame.t0_ns, frame.gap_ns, frame.valid)
        if frame.kind == "ecg":
            g = self._grids.get(frame.rate_hz)
            if g is None:
                g = self._grids[frame.rate_hz] = grid(frame.rate_hz)
            kernel.ecg_frame(state, limits, g, found, *rows, frame.samples)
        elif frame.kind == "rr_interval":
            readings.rr_frame(state, limits, found, *rows, frame.samples)
        else:
            readings.vitals_frame(state, limits, found, *rows, frame.rate_hz, frame.samples)
        if not (found.used[0] or found.used[1]):
            return NOTHING
        return StepResult(_detections(found), _features(found))

    def device_gone(self, slots: Int32, kind: str) -> None:
        """The next device raises anew what this one had raised."""
        source = _SOURCES[kind]
        latch = self.state.latch
        for slot in slots.tolist():
            raised = latch[slot, RAISED_BY] == source + 1
            latch[slot, RAISED_BY, raised] = 0
            latch[slot, QUIET, raised] = 0
            latch[slot, ONSET_NS : CALM_NS + 1, raised] = NEVER
            latch[slot, SINCE_NS + source] = NEVER

    def _columns_changed(self) -> None:
        self._limits = None

    def _limits_now(self) -> HeartLimits:
        p = self.params
        return HeartLimits(
            per_slot=np.column_stack([self.columns[name] for name in PER_SLOT]),
            turn_ns=self._turn_ns,
            worse=_WORSE,
            rate_hysteresis_bpm=p.rate_hysteresis_bpm,
            rate_window_beats=p.rate_window_beats,
            asystole_s=p.asystole_s,
            ventricular_rr_ms_max=60_000 / p.ventricular_rate_bpm_min,
            ventricular_beats_min=p.ventricular_beats_min,
            fibrillation_s=int(p.fibrillation_s),
            atrial_entropy_fraction_min=p.atrial_entropy_fraction_min,
        )


def _turn_ns(p: HeartParams) -> Int64:
    """Seconds from condition to onset, and from its end to clear, per code (rows of `HeartLimits.turn_ns`)."""
    confirm = {"heart.asystole": 0.0, "heart.ventricular_tachycardia": 0.0, "heart.ventricular_fibrillation": 0.0}  # they count themselves
    confirm |= dict.fromkeys(("heart.bradycardia", "heart.tachycardia"), p.rate_confirm_s)
    confirm |= dict.fromkeys(("heart.respiration_low", "heart.respiration_high"), p.respiration_confirm_s)
    confirm |= {"heart.atrial_fibrillation": p.atrial_confirm_s, "heart.spo2_low": p.spo2_confirm_s}
    clear = dict.fromkeys(CODES, p.clear_s) | {"heart.asystole": 0.0}
    longest = {code: max(clear[code], CLEAR_LONGEST_S) if code in WORSE else clear[code] for code in CODES}
    seconds = [[row[code] for code in CODES] for row in (confirm, clear, longest)]
    return np.array(np.array(seconds) * NS_PER_S, np.int64)


def _detections(found: Found) -> list[Detection]:
    result = []
    for row in range(int(found.used[0])):
        slot, code, onset, onset_ns, decided_ns = (int(v) for v in found.event[row])
        value = float(found.value[row])
        values = {VALUES[code]: value} if np.isfinite(value) else {}
        result.append(Detection(slot, CODES[code], onset_ns, decided_ns, 1.0, "onset" if onset else "clear", values))
    return result


def _features(found: Found) -> list[Frame]:
    """Minutes as frames: one frame per minute and slot at most, in time order per slot."""
    rows = found.feature[: int(found.used[1])]
    frames: list[Frame] = []
    for minute in np.unique(rows[:, 1]):
        part = rows[rows[:, 1] == minute]
        samples = part[:, None, 2:].astype(np.float32)
        t0_ns = np.full(len(part), int(minute) * MINUTE_NS, np.int64)
        frames.append(frame(FEATURE, part[:, 0].astype(np.int32), t0_ns, _FEATURE_RATE_HZ, samples))
    return frames


def detect_beats(signal: Float64, rate_hz: float) -> tuple[Int64, np.ndarray]:
    """Beat times (ns from the first sample) of a whole ECG, shape (n,) or (n, leads) mV, by the detector itself.

    Returns (times (b,), ventricular (b,) 0 or 1). It is fed in seconds; NaN is missing.
    """
    samples = np.asarray(signal, np.float32).reshape(len(signal), -1)
    detector = HeartDetector(capacity=1)
    times: list[int] = []
    wide: list[int] = []
    seen = 0
    size = int(rate_hz)
    for start in range(0, len(samples), size):
        part = np.ascontiguousarray(samples[None, start : start + size])
        t0_ns = int(start * NS_PER_S / rate_hz + 0.5)
        detector.step(frame("ecg", [0], [t0_ns], rate_hz, part, gap_ns=[-1 if start == 0 else 0]))
        total = int(detector.state.tally[0, BEAT_COUNT])
        for index in range(seen, total):
            times.append(int(detector.state.beats[0, 0, index % BEATS_KEPT]))
            wide.append(int(detector.state.beats[0, 1, index % BEATS_KEPT]))
        seen = total
    return np.array(times, np.int64), np.array(wide, np.uint8)
