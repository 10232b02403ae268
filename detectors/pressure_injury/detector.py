"""How long a resident has been lying on the same side, and whether a turn is overdue."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.pressure_injury import kernel, state
from detectors.pressure_injury.events import EVENTS, MOISTURE, TURN_OVERDUE
from detectors.pressure_injury.params import PressureInjuryParams
from detectors.pressure_injury.state import FEATURE_COLUMNS, FINDINGS_PER_SAMPLE, PressureInjuryState, Workspace
from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection
from engine.frame import NS_PER_S, Frame
from engine.frame import frame as make_frame
from engine.watch import Hazard, Line, Signal

FEATURE: Final = "feature.pressure"

_CODES: Final = {state.OVERDUE: TURN_OVERDUE, state.WET: MOISTURE}
SHAPES_MAX: Final = 16
"""Work spaces kept; a home has one or two kinds of mattress."""
FROZEN_S: Final = 86_400.0
"""Nobody lies for a day without a change of moisture to the last digit, unless it is dry."""
_FEATURE_RATE_HZ: Final = NS_PER_S / state.FEATURE_PERIOD_NS


class PressureInjuryDetector(Detector[PressureInjuryParams, PressureInjuryState]):
    """Reports a turn that is overdue, and bedding that stays wet.

    Inputs: `pressure_map` uint16 (k, n, rows * columns), any gain and offset, 65535 = missing cell, row 0 at the head and
    column 0 at the right hand of a supine person, 1/600 to 10 Hz; `bed` float32 (k, n, 3) in_bed, movement, moisture. A slot
    with fresh maps ignores the bed sensor's presence; a slot with a bed sensor alone is judged by time in bed
    (`unseen_interval_s`), because without a map a turn cannot be told from restlessness: movement never stops that clock.

    Events: turn_overdue at the moment the interval runs out, cleared by an effective turn (another side for
    `decompression_s`) or by leaving the bed for `exit_confirm_s`; moisture after `moisture_confirm_s`.

    Warm-up: three observations, at least about a minute. Latency: a turn that falls due is said with the first sample
    after it, unless another posture was being tried: then when it is given up, at most decompression_s plus the vote's
    minute or two later. While the sensor is silent nothing is said (the engine says that it is silent): a turn that fell due
    meanwhile is said with the next data.

    Missing data (whole frames, poor quality, too many missing cells, stuck maps) leaves everything as it is. Up to
    `gap_bridge_s` it counts as time on the same side; after a longer gap the clock starts anew, but an overdue turn stays
    open until a turn or a bed exit is seen.

    References: TEAM-UP (Yap et al. 2022) for intervals and the 15 minutes, NPIAP/EPUAP/PPPIA guideline 2019 (repositioning),
    Reswick & Rogers 1976 (tolerance falls with time). Posture: see posture.py and README.md.

    >>> from detectors.pressure_injury.examples import negative, positive
    >>> fires, quiet = PressureInjuryDetector(), PressureInjuryDetector()
    >>> sorted({found.code for frame in positive() for found in fires.step(frame).detections})
    ['pressure_injury.turn_overdue']
    >>> [found for frame in negative() for found in quiet.step(frame).detections]
    []
    """

    spec: ClassVar[Spec] = Spec(
        name="pressure_injury",
        state_version=1,
        kinds=("pressure_map", "bed"),
        events=EVENTS,
        latency_bound_s=1200.0,
        warmup_s=180.0,
        references=(
            "Yap et al., TEAM-UP, Adv Skin Wound Care 2022;35:315",
            "NPIAP/EPUAP/PPPIA Clinical Practice Guideline 2019, repositioning and early mobilization",
            "Reswick & Rogers, Bedsore Biomechanics 1976:301",
        ),
        overridable=("turn_interval_s",),
        features={FEATURE: FEATURE_COLUMNS},
        watches={
            "pressure_map": (Signal(Hazard.PRESSURE, "posture", line=Line.EVEN),),
            "bed": (Signal(Hazard.PRESSURE, "in_bed", "in_bed"), Signal(Hazard.BED, "moisture", "moisture", frozen_s=FROZEN_S, rest=0.0)),
        },
    )
    params_type: ClassVar[type[PressureInjuryParams]] = PressureInjuryParams

    def __init__(self, params: PressureInjuryParams | None = None, capacity: int = 64) -> None:
        super().__init__(params, capacity)
        self._limits = self.params.limits()
        self._work: dict[tuple[int, int], Workspace] = {}
        self._room(capacity)

    def initial_state(self, capacity: int) -> PressureInjuryState:
        """Nothing known about anybody."""
        return state.initial(capacity)

    def _room(self, samples: int) -> None:
        """Output buffers for that many samples (reused; nothing in them outlives a call)."""
        self._findings = np.zeros((samples * FINDINGS_PER_SAMPLE, state.FINDING), np.int64)
        self._features = np.zeros((samples, len(FEATURE_COLUMNS)), np.float32)
        self._feature_slots = np.zeros((samples, 2), np.int64)

    def step(self, frame: Frame) -> StepResult:
        """Take pressure maps or bed readings."""
        k, n = frame.samples.shape[:2]
        if k * n > len(self._features):
            self._room(k * n)
        period_ns = NS_PER_S / frame.rate_hz if frame.rate_hz > 0 else 0.0
        outputs = (self._findings, self._features, self._feature_slots)
        interval_s = self.columns["turn_interval_s"]
        if frame.kind == "pressure_map":
            if frame.shape not in self._work:
                if len(self._work) >= SHAPES_MAX:
                    self._work.clear()
                self._work[frame.shape] = state.workspace(*frame.shape)
            counts = kernel.step_maps(
                self.state,
                frame.slot,
                frame.t0_ns,
                period_ns,
                frame.samples,
                frame.valid,
                frame.shape,
                interval_s,
                self._limits,
                self._work[frame.shape],
                *outputs,
            )
        else:
            counts = kernel.step_beds(
                self.state, frame.slot, frame.t0_ns, period_ns, frame.samples, frame.valid, interval_s, self._limits, *outputs
            )
        if counts == (0, 0):
            return NOTHING
        return StepResult(self._detections(counts[0]), self._feature_frames(counts[1]))

    def _detections(self, count: int) -> list[Detection]:
        found = []
        for slot, code, onset_ns, decided_ns, clear, held in self._findings[:count].tolist():
            values = {"posture_code": float(held), "same_side_s": self._interval_s(slot, held)} if code == state.OVERDUE else {}
            if clear and code == state.OVERDUE:
                values = {"posture_code": float(held), "overdue_s": (decided_ns - onset_ns) / NS_PER_S}
            found.append(Detection(slot, _CODES[code], onset_ns, decided_ns, phase="clear" if clear else "onset", values=values))
        return found

    def _interval_s(self, slot: int, held: int) -> float:
        interval_ns = int(self.columns["turn_interval_s"][slot] * NS_PER_S)
        return float(kernel.interval_of(held, interval_ns, self._limits)) / NS_PER_S

    def _feature_frames(self, count: int) -> list[Frame]:
        """Rows of one slot go into successive frames: a slot occurs once in a frame."""
        frames = []
        left = list(range(count))
        slots = self._feature_slots[:count, 0].tolist()
        while left:
            first: dict[int, int] = {}
            for row in left:
                first.setdefault(slots[row], row)
            rows = list(first.values())
            left = [row for row in left if first[slots[row]] != row]
            frames.append(
                make_frame(
                    FEATURE, self._feature_slots[rows, 0], self._feature_slots[rows, 1], _FEATURE_RATE_HZ, self._features[rows][:, None, :]
                )
            )
        return frames
