"""The comparison: the same sensors watched one sample at a time in Python with river, as one would write it on a first day.

Deliberately less than what Vigil does (a threshold on impact, a QRS threshold, posture by left and right load, fixed limits in
the room), so the ratio flatters nobody but the naive program.
"""

from __future__ import annotations

import math
from typing import Final

from river import stats

from engine.block import Block

IMPACT_G: Final = 2.5
QRS_MV: Final = 0.4
HEAT_C: Final = 57.0
SMOKE_OD_PER_M: Final = 0.02
CO_PPM: Final = 70.0
RATE_BPM: Final = (40.0, 130.0)


class Naive:
    """One resident or room, all its sensors."""

    def __init__(self) -> None:
        self.activity = stats.EWMean(0.05)
        self.baseline = stats.EWMean(0.02)
        self.heart = stats.EWMean(0.01)
        self.smoke = stats.EWMean(0.05)
        self.load = stats.Mean()
        self.since_beat = 0
        self.alarms = 0

    def accel(self, x: float, y: float, z: float) -> None:
        """One sample, g."""
        size = math.sqrt(x * x + y * y + z * z)
        self.activity.update(abs(size - 1.0))
        if size > IMPACT_G and self.activity.get() < 0.1:
            self.alarms += 1

    def ecg(self, value: float, rate_hz: float) -> None:
        """One sample, mV."""
        self.baseline.update(value)
        self.since_beat += 1
        if value - self.baseline.get() > QRS_MV and self.since_beat > 0.25 * rate_hz:
            self.heart.update(60.0 * rate_hz / self.since_beat)
            self.since_beat = 0
            if not RATE_BPM[0] <= self.heart.get() <= RATE_BPM[1]:
                self.alarms += 1

    def cells(self, row: list[int], columns: int) -> None:
        """One pressure map."""
        left = right = 0
        for number, value in enumerate(row):
            if number % columns < columns // 2:
                left += value
            else:
                right += value
            self.load.update(value)
        if left + right and abs(left - right) / (left + right) > 0.9:
            self.alarms += 1

    def room(self, smoke: float, co: float, heat: float) -> None:
        """One reading."""
        self.smoke.update(smoke)
        if self.smoke.get() > SMOKE_OD_PER_M or co > CO_PPM or heat > HEAT_C:
            self.alarms += 1


def run(seconds: list[list[Block]]) -> int:
    """Everything in `seconds`, sample by sample; returns the alarms (so that nothing can be left out)."""
    people: dict[str, Naive] = {}
    for blocks in seconds:
        for block in blocks:
            for row, device in enumerate(block.devices):
                one = people.setdefault(device, Naive())
                samples = block.samples[row].tolist()
                if block.kind == "accel":
                    for x, y, z in samples:
                        one.accel(x, y, z)
                elif block.kind == "ecg":
                    for (value,) in samples:
                        one.ecg(value, block.rate_hz)
                elif block.kind == "pressure_map":
                    for values in samples:
                        one.cells(values, block.shape[1])
                elif block.kind == "room_air":
                    for smoke, co, heat, _ in samples:
                        one.room(smoke, co, heat)
                elif block.kind == "vitals":
                    for values in samples:
                        one.heart.update(70.0 if math.isnan(values[0]) else values[0])
    return sum(one.alarms for one in people.values())
