"""The first river model: what heart rate is usual for this resident at this time of day."""

from __future__ import annotations

import math
from typing import ClassVar, Final, NamedTuple

import msgspec
import numpy as np
from river import stats

from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection
from engine.frame import NS_PER_S, Frame, Int32, Int64
from models.heart_baseline.events import CODE, EVENTS
from models.heart_baseline.params import HeartBaselineParams

FEATURE: Final = "feature.heart"
COLUMNS: Final = ("heart_rate_bpm", "rmssd_ms", "beats", "coverage_fraction", "rr_entropy", "respiration_per_min", "spo2_percent")
"""What this model expects of a minute. Models know detectors only by their features; a test holds this to what the heart detector emits."""
HEART_RATE: Final = COLUMNS.index("heart_rate_bpm")
COVERAGE: Final = COLUMNS.index("coverage_fraction")

PARTS_OF_DAY: Final = 4
"""Night, morning, afternoon, evening: six hours each. Heart rate falls by 10-20 bpm in sleep, so one mean fits neither."""
HOURS_PER_PART: Final = 24 // PARTS_OF_DAY
NS_PER_HOUR: Final = 3600 * NS_PER_S
NS_PER_MINUTE: Final = 60 * NS_PER_S
MINUTES_PER_HOUR: Final = 60
RATE_BPM_MIN: Final = 20.0
RATE_BPM_MAX: Final = 300.0
"""Outside, it is not a heart rate; one such value (or a NaN) would spoil river's running moments for good."""
SD_BPM_MIN: Final = 3.0
"""No resident is steadier than the error of the sensors (3.25 bpm is accepted of contact-free ones)."""
HELD_BACK_SD: Final = 3.0
"""Minutes further out than this are judged but not learned, so that an illness does not become the baseline."""
NEVER: Final = -1


class HeartBaselineState(NamedTuple):
    """Axis 0 = slot; times in device ns or NEVER."""

    active: Int64  # (s,) 0 or 1
    onset_ns: Int64  # (s,)
    since_ns: Int64  # (s,) since when the rate has been unusual
    calm_ns: Int64  # (s,) since when it has been usual again
    last_ns: Int64  # (s,) last good minute
    learned: Int64  # (s, PARTS_OF_DAY) good minutes learned


class Baseline:
    """Exponentially weighted mean and variance of one resident's heart rate in one part of the day, kept by river.

    river's EWMean takes its first value whole, and with a half-life of days it would rule for a week. Both moments
    are therefore seeded with 0 and corrected for it (Kingma & Ba 2015, section 3): after n values a share of
    1 - (1 - fading_factor)^n of the weight is on real ones.
    """

    def __init__(self, fading_factor: float, first: float = 0.0, second: float = 0.0) -> None:
        self.kept = 1.0 - fading_factor
        self.first = stats.EWMean(fading_factor=fading_factor)
        self.second = stats.EWMean(fading_factor=fading_factor)
        self.first.update(first)
        self.second.update(second)

    def learn(self, bpm: float) -> None:
        """Take one good minute; the caller has checked that it is finite and a heart rate."""
        self.first.update(bpm)
        self.second.update(bpm * bpm)

    def expect(self, minutes: int) -> tuple[float, float]:
        """Mean and standard deviation in bpm after `minutes` >= 1 learned minutes."""
        weight = 1.0 - self.kept**minutes
        mean = float(self.first.get()) / weight
        variance = float(self.second.get()) / weight - mean * mean
        return mean, max(SD_BPM_MIN, math.sqrt(max(0.0, variance)))


class HeartBaselineModel(Detector[HeartBaselineParams, HeartBaselineState]):
    """Decides whether a resident's heart rate has been unusual for this person and part of the day.

    In: `feature.heart`, one row a minute. Out: `heart_baseline.deviation` (LOW, never life safety: absolute limits are
    the heart detector's). A minute is scored before it is learned; minutes with little coverage, far from the
    baseline, or while the condition is raised, are not learned. Parts of the day are by UTC hours of device time:
    any fixed split serves as long as it is the same every day.

    Warm-up: `warmup_h` of good minutes in a part of the day. Latency: `confirm_min`. Method: exponentially weighted
    moments (river `stats.EWMean`; Finch, "Incremental calculation of weighted mean and variance", 2009).

    >>> from models.heart_baseline.examples import negative, positive
    >>> fires, quiet = HeartBaselineModel(), HeartBaselineModel()
    >>> sorted({found.code for frame in positive() for found in fires.step(frame).detections})
    ['heart_baseline.deviation']
    >>> [found for frame in negative() for found in quiet.step(frame).detections]
    []
    """

    spec: ClassVar[Spec] = Spec(
        name="heart_baseline",
        state_version=1,
        kinds=(FEATURE,),
        events=EVENTS,
        latency_bound_s=25 * 60,
        warmup_s=12 * 3600,
        references=("Montiel et al., river, JMLR 2021;22:110", "Finch, Incremental calculation of weighted mean and variance, 2009"),
    )
    params_type: ClassVar[type[HeartBaselineParams]] = HeartBaselineParams

    def __init__(self, params: HeartBaselineParams | None = None, capacity: int = 64) -> None:
        super().__init__(params, capacity)
        self.baselines: dict[tuple[int, int], Baseline] = {}
        self._fading_factor = 1.0 - 0.5 ** (1.0 / (self.params.half_life_h * MINUTES_PER_HOUR))

    def initial_state(self, capacity: int) -> HeartBaselineState:
        """State of slots that have seen nothing."""
        never = np.full(capacity, NEVER, np.int64)
        return HeartBaselineState(
            active=np.zeros(capacity, np.int64),
            onset_ns=never,
            since_ns=never.copy(),
            calm_ns=never.copy(),
            last_ns=never.copy(),
            learned=np.zeros((capacity, PARTS_OF_DAY), np.int64),
        )

    def step(self, frame: Frame) -> StepResult:
        """Score, then learn, one minute of every slot in the frame."""
        found: list[Detection] = []
        for row in range(frame.slot.shape[0]):
            if not frame.valid[row]:
                continue
            for i in range(frame.samples.shape[1]):
                bpm = float(frame.samples[row, i, HEART_RATE])
                coverage = float(frame.samples[row, i, COVERAGE])
                if RATE_BPM_MIN <= bpm <= RATE_BPM_MAX and coverage >= self.params.coverage_fraction_min:
                    self._minute(int(frame.slot[row]), int(frame.t0_ns[row]) + i * NS_PER_MINUTE, bpm, found)
        return StepResult(found, []) if found else NOTHING

    def _minute(self, slot: int, t_ns: int, bpm: float, found: list[Detection]) -> None:
        state, p = self.state, self.params
        part = t_ns // NS_PER_HOUR % 24 // HOURS_PER_PART
        end_ns = t_ns + NS_PER_MINUTE
        baseline = self.baselines.get((slot, part))
        if baseline is None:
            baseline = self.baselines[slot, part] = Baseline(self._fading_factor)
        if state.last_ns[slot] != NEVER and not 0 <= t_ns - state.last_ns[slot] <= p.confirm_min * NS_PER_MINUTE:
            state.since_ns[slot] = NEVER  # too much is missing in between to speak of one episode
            state.calm_ns[slot] = NEVER
        state.last_ns[slot] = t_ns
        warm = state.learned[slot, part] >= p.warmup_h * MINUTES_PER_HOUR
        distance = 0.0
        if warm:
            mean, deviation = baseline.expect(int(state.learned[slot, part]))
            distance = abs(bpm - mean) / deviation
            unusual = distance >= p.deviation_z and abs(bpm - mean) >= p.deviation_bpm_min
            self._judge(slot, t_ns, end_ns, unusual, {"heart_rate_bpm": bpm, "usual_bpm": mean, "distance_z": distance}, found)
        if not state.active[slot] and (not warm or distance < HELD_BACK_SD):
            baseline.learn(bpm)
            state.learned[slot, part] += 1

    def _judge(self, slot: int, t_ns: int, end_ns: int, unusual: bool, values: dict[str, float], found: list[Detection]) -> None:
        state, p = self.state, self.params
        if state.active[slot]:
            if unusual:
                state.calm_ns[slot] = NEVER
                return
            if state.calm_ns[slot] == NEVER:
                state.calm_ns[slot] = t_ns
            if end_ns - state.calm_ns[slot] >= p.clear_min * NS_PER_MINUTE:
                state.active[slot] = 0
                state.since_ns[slot] = NEVER
                found.append(Detection(slot, CODE, int(state.onset_ns[slot]), end_ns, 1.0, "clear", values))
            return
        if not unusual:
            state.since_ns[slot] = NEVER
            return
        if state.since_ns[slot] == NEVER:
            state.since_ns[slot] = t_ns
        if end_ns - state.since_ns[slot] >= p.confirm_min * NS_PER_MINUTE:
            state.active[slot] = 1
            state.onset_ns[slot] = state.since_ns[slot]
            state.calm_ns[slot] = NEVER
            found.append(Detection(slot, CODE, int(state.onset_ns[slot]), end_ns, 1.0, "onset", values))

    def _forget_extra(self, slots: Int32) -> None:
        for slot in slots:
            for part in range(PARTS_OF_DAY):
                self.baselines.pop((int(slot), part), None)

    def _pack_extra(self) -> bytes:
        rows = [(slot, part, b.first.get(), b.second.get()) for (slot, part), b in sorted(self.baselines.items())]
        return msgspec.msgpack.encode(rows)

    def _unpack_extra(self, data: bytes) -> None:
        rows = msgspec.msgpack.decode(data, type=list[tuple[int, int, float, float]])
        self.baselines = {(slot, part): Baseline(self._fading_factor, first, second) for slot, part, first, second in rows}
