"""Fire, carbon monoxide and electrical fire in one room: a second pair of eyes beside the certified panel."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from detectors.fire.events import EVENTS
from detectors.fire.filters import COHB_START_PERCENT
from detectors.fire.kernel import electrical, room_air
from detectors.fire.params import FireParams
from detectors.fire.state import (
    C_CABLE,
    C_PREWARNING,
    C_RESIDUAL,
    C_SMOKE,
    CHANNELS,
    CONDITIONS,
    DB_PER_OD,
    NEVER,
    ROOM_COLUMNS,
    Columns,
    FireLimits,
    FireState,
    Found,
)
from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection, Phase
from engine.frame import NS_PER_S, Float64, Frame, Int32, frame
from engine.watch import Hazard, Line, Signal

ROOM_VALUES: Final = ("smoke_db_per_m", "temperature_c", "rate_k_per_min", "co_ppm", "cohb_percent", "criteria")
ELECTRICAL_VALUES: Final = ("residual_current_ma", "cable_temperature_c")
FEATURE: Final = "feature.room"
FEATURE_COLUMNS: Final = ("smoke_db_per_m", "co_ppm", "temperature_c", "humidity_percent", "temperature_rate_k_per_min", "cohb_percent")
FEATURE_RATE_HZ: Final = 1 / 60
HOLD_INTERVALS: Final = 2.5
"""A sensor may lose one reading, with half an interval of jitter, without its run being broken."""
FROZEN_S: Final = 3 * 86_400.0
FROZEN_FINE_S: Final = 86_400.0
"""The temperature of a room follows the sun and the people in it: in steps of 0.1 K it does not stand for a day. Whole degrees may, where the air
is conditioned. Smoke, carbon monoxide and residual current stand at their zero for months."""


def _warm(name: str) -> Signal:
    """A temperature: 0 °C exactly, reading after reading, is a sensor that fills with zeros."""
    return Signal(Hazard.FIRE, name, name, line=Line.ZERO, frozen_s=FROZEN_S, fine_s=FROZEN_FINE_S)


class FireDetector(Detector[FireParams, FireState]):
    """Decides whether a room burns, smoulders, fills with carbon monoxide, or has a fault in its wiring.

    Takes "room_air" (k, n, 4): smoke optical density 1/m, CO ppm, temperature °C, humidity %; and "electrical"
    (k, n, 2): residual current mA, cable temperature °C; 10 Hz to one reading in ten minutes, NaN = missing, any
    channel may be missing for ever. Each criterion alone alarms; smoke together with heat or CO alarms at the lowest
    smoke EN 54-7 allows. `values` of a detection hold the readings it was decided on and `criteria`, how many of smoke,
    heat and CO agree (GB 50116 4.1.6 wants two before anything is switched).

    Warm-up: 20 s for the smoke baseline; everything else decides from the third reading on. Worst-case latency is the
    confirm time plus two readings, for CO the dose of UL 2034; where the next reading is more than 45 s away (`rate_hz`
    0: nobody knows), one that is far over its limit decides at once. Chunks flagged invalid by the device are not used.
    Missing data never clears a condition. Emits "feature.room" once a minute of device time.

    Sources: README.md beside this file names the clause behind every limit.

    >>> from detectors.fire.examples import negative, positive
    >>> fires, quiet = FireDetector(), FireDetector()
    >>> sorted({found.code for frame in positive() for found in fires.step(frame).detections})
    ['fire.cable_heat', 'fire.heat', 'fire.rate_of_rise', 'fire.residual_current', 'fire.smoke']
    >>> [found for frame in negative() for found in quiet.step(frame).detections]
    []
    """

    spec: ClassVar[Spec] = Spec(
        name="fire",
        state_version=1,
        kinds=("room_air", "electrical"),
        events=EVENTS,
        latency_bound_s=60.0,
        warmup_s=20.0,
        references=(
            "EN 54-2 7.12.1, confirmation of a first alarm signal within 60 s",
            "EN 54-5:2017 / GB 4716-2005, heat detectors, class A1",
            "EN 54-7:2018 / GB 4715-2005, smoke detectors, 0.05 dB/m and slowly developing fires",
            "UL 2034, CO alarms, carboxyhaemoglobin dose",
            "EN 50291-1, CO alarms, 300 ppm within 3 min",
            "Coburn, Forster, Kane. J Clin Invest 1965;44:1899",
            "GB 50116-2013 4.1.6, 9.2.3; GB 14287, electrical fire monitoring",
            "NIST TN 1455-1, Performance of home smoke alarms",
        ),
        overridable=(
            "heat_static_c",
            "rise_in_1min_c",
            "smoke_alarm_db_per_m",
            "cohb_alarm_percent",
            "residual_current_ma",
            "cable_c",
        ),
        features={FEATURE: FEATURE_COLUMNS},
        watches={
            "room_air": (*(Signal(Hazard.FIRE, name, name) for name in ("smoke_od_per_m", "co_ppm")), _warm("temperature_c")),
            "electrical": (Signal(Hazard.FIRE, "residual_current_ma", "residual_current_ma"), _warm("cable_temperature_c")),
        },
    )
    params_type: ClassVar[type[FireParams]] = FireParams

    def __init__(self, params: FireParams | None = None, capacity: int = 64) -> None:
        super().__init__(params, capacity)
        p = self.params
        confirm_s = (
            p.smoke_confirm_s,
            p.heat_confirm_s,
            p.rise_confirm_s,
            p.co_confirm_s,
            p.prewarning_confirm_s,
            p.residual_confirm_s,
            p.cable_confirm_s,
        )
        self._limits = FireLimits(
            p.heat_fast_below_c,
            p.heat_fast_rise_in_1min_c,
            p.rise_c_min,
            p.rise_floor_below_c,
            p.rise_corroborate_c,
            p.smoke_corroborated_db_per_m / DB_PER_OD,
            p.smoke_drift_ratio_per_h,
            p.smoke_offset_ratio,
            p.cohb_prewarning_percent,
            p.co_floor_ppm,
            p.co_corroborate_ppm,
            int(p.clear_s * NS_PER_S),
            tuple(int(s * NS_PER_S) for s in confirm_s),  # type: ignore[arg-type]
        )

    def initial_state(self, capacity: int) -> FireState:
        """Nothing seen, nothing active, COHb of a non-smoker."""
        never = np.full((capacity, CONDITIONS), NEVER, np.int64)
        co = np.zeros((capacity, 3))
        co[:, 2] = COHB_START_PERCENT
        return FireState(
            seen_ns=np.full((capacity, CHANNELS), NEVER, np.int64),
            before=np.zeros((capacity, CHANNELS, 2)),
            smoke=np.zeros((capacity, 2)),
            smoke_start_ns=np.full(capacity, NEVER, np.int64),
            co=co,
            heat=np.zeros((capacity, 4)),
            raised=np.zeros((capacity, 3), np.bool_),
            active=np.zeros((capacity, CONDITIONS), np.bool_),
            since_ns=never,
            below_ns=never.copy(),
            onset_ns=never.copy(),
            minute=np.full(capacity, NEVER, np.int64),
            sums=np.zeros((capacity, ROOM_COLUMNS)),
            counts=np.zeros((capacity, ROOM_COLUMNS)),
        )

    def device_gone(self, slots: Int32, kind: str) -> None:
        """The next sensor raises anew what this one had raised."""
        conditions = slice(C_SMOKE, C_PREWARNING + 1) if kind == "room_air" else slice(C_RESIDUAL, C_CABLE + 1)
        for column, fresh in ((self.state.active, False), (self.state.since_ns, NEVER), (self.state.below_ns, NEVER)):
            column[slots, conditions] = fresh

    def step(self, frame: Frame) -> StepResult:
        """Take one frame of room_air or electrical."""
        columns = self.columns
        limits = Columns(
            columns["heat_static_c"],
            columns["rise_in_1min_c"],
            columns["smoke_alarm_db_per_m"],
            columns["cohb_alarm_percent"],
            columns["residual_current_ma"],
            columns["cable_c"],
        )
        period_ns = NS_PER_S / frame.rate_hz if frame.rate_hz > 0 else 0.0
        hold_ns = int(max(self.params.hold_s * NS_PER_S, HOLD_INTERVALS * period_ns))
        run, names = (room_air, ROOM_VALUES) if frame.kind == "room_air" else (electrical, ELECTRICAL_VALUES)
        found = run(frame.slot, frame.t0_ns, period_ns, hold_ns, frame.samples, frame.gap_ns, frame.valid, self.state, self._limits, limits)
        if not found.when.shape[0] and not found.minutes.shape[0]:
            return NOTHING
        return StepResult(_detections(found, names), _features(found))


def _detections(found: Found, names: tuple[str, ...]) -> list[Detection]:
    """The kernel's transitions in words; readings that were missing are left out."""
    result = []
    for (slot, condition, onset, onset_ns, decided_ns), row in zip(found.when.tolist(), found.values.tolist(), strict=True):
        values = {name: value for name, value in zip(names, row, strict=False) if value == value}  # noqa: PLR0124 - NaN is missing
        phase: Phase = "onset" if onset else "clear"
        result.append(Detection(slot, EVENTS[condition].code, onset_ns, decided_ns, 1.0, phase, values))
    return result


def _features(found: Found) -> list[Frame]:
    """Minute rows as frames; a slot that closed several minutes in one step gets one frame for each."""
    slots = found.minutes[:, 0]
    order = np.zeros(slots.shape[0], np.int64)
    counts: dict[int, int] = {}
    for row, slot in enumerate(slots.tolist()):
        order[row] = counts.get(slot, 0)
        counts[slot] = int(order[row]) + 1
    frames = []
    for nth in range(max(counts.values(), default=0)):
        rows = order == nth
        samples: Float64 = found.features[rows][:, None, :]
        frames.append(frame(FEATURE, slots[rows], found.minutes[rows, 1], FEATURE_RATE_HZ, samples.astype(np.float32)))
    return frames
