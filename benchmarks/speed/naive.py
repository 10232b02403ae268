"""The comparison: the same sensors watched one sample at a time in Python with river, as a team would write it in its first week.

Every sample goes through river's own online statistics; the rules on top are the textbook ones (impact then stillness, an adaptive
QRS threshold with RR variability, load a cell and a side, levels and drift in the room). It does less than Vigil does (no rhythms,
no posture classes, no dose of CO, no clocks or accounts), so the ratio flatters nobody but this program.
"""

from __future__ import annotations

import math
from typing import Final

from river import preprocessing, stats, utils

from engine.block import Block

IMPACT_G: Final = 2.5
STILL_G: Final = 0.05
QRS_SHARE: Final = 0.4
REFRACTORY_S: Final = 0.25
BASELINE_S: Final = 0.6
INTEGRATE_S: Final = 0.15
BEATS: Final = 30
HEAT_C: Final = 57.0
SMOKE_OD_PER_M: Final = 0.02
CO_PPM: Final = 70.0
RATE_BPM: Final = (40.0, 130.0)
SIDE_SHARE: Final = 0.8
ANOMALOUS_Z: Final = 4.0


class Motion:
    """Falls: an impact, then a second without movement."""

    def __init__(self, rate_hz: float) -> None:
        window = int(rate_hz)
        self.scaler = preprocessing.StandardScaler()
        self.level = utils.Rolling(stats.Mean(), window)
        self.spread = utils.Rolling(stats.Var(), window)
        self.impact_ago = math.inf
        self.rate_hz = rate_hz

    def sample(self, x: float, y: float, z: float) -> bool:
        """One sample, g."""
        size = math.sqrt(x * x + y * y + z * z)
        features = {"x": x, "y": y, "z": z, "size": size}
        self.scaler.learn_one(features)
        scaled = self.scaler.transform_one(features)
        self.level.update(size)
        self.spread.update(size)
        self.impact_ago = 0.0 if size > IMPACT_G and scaled["size"] > ANOMALOUS_Z else self.impact_ago + 1
        still = self.spread.get() < STILL_G**2 and abs(self.level.get() - 1.0) < 0.1
        return still and self.rate_hz < self.impact_ago < 3 * self.rate_hz


class Heart:
    """QRS by slope energy against an adaptive threshold; rate and its variability."""

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self.baseline = utils.Rolling(stats.Mean(), int(BASELINE_S * rate_hz))
        self.energy = utils.Rolling(stats.Mean(), int(INTEGRATE_S * rate_hz))
        self.peak = stats.EWMean(0.005)
        self.intervals = utils.Rolling(stats.Mean(), BEATS)
        self.variability = utils.Rolling(stats.Var(), BEATS)
        self.last = 0.0
        self.since_s = 0.0

    def sample(self, value: float) -> bool:
        """One sample, mV."""
        self.baseline.update(value)
        flat = value - self.baseline.get()
        self.energy.update((flat - self.last) ** 2)
        self.last = flat
        energy = self.energy.get()
        self.peak.update(energy)
        self.since_s += 1 / self.rate_hz
        if energy > self.peak.get() / QRS_SHARE and self.since_s > REFRACTORY_S:
            self.intervals.update(self.since_s)
            self.variability.update(self.since_s)
            self.since_s = 0.0
            return not RATE_BPM[0] <= 60 / self.intervals.get() <= RATE_BPM[1] or self.variability.get() > 1
        return False


class Bed:
    """Load of every cell over time, and which side carries it."""

    def __init__(self, cells: int) -> None:
        self.load = [stats.EWMean(0.01) for _ in range(cells)]

    def map(self, row: list[int], columns: int) -> bool:
        """One pressure map."""
        left = right = 0.0
        for number, value in enumerate(row):
            cell = self.load[number]
            cell.update(value)
            if number % columns < columns // 2:
                left += cell.get()
            else:
                right += cell.get()
        return left + right > 0 and abs(left - right) / (left + right) > SIDE_SHARE


class Levels:
    """A few slow channels: levels, and how far from their own past."""

    def __init__(self) -> None:
        self.scaler = preprocessing.StandardScaler()

    def reading(self, features: dict[str, float]) -> bool:
        """One reading."""
        known = {name: value for name, value in features.items() if not math.isnan(value)}
        self.scaler.learn_one(known)
        return any(abs(z) > ANOMALOUS_Z for z in self.scaler.transform_one(known).values())


def run(seconds: list[list[Block]]) -> int:
    """Everything in `seconds`, sample by sample; returns how often a rule held (so that nothing can be left out)."""
    motion: dict[str, Motion] = {}
    heart: dict[str, Heart] = {}
    bed: dict[str, Bed] = {}
    levels: dict[str, Levels] = {}
    alarms = 0
    for blocks in seconds:
        for block in blocks:
            for row, device in enumerate(block.devices):
                samples = block.samples[row].tolist()
                if block.kind == "accel":
                    wrist = motion.get(device) or motion.setdefault(device, Motion(block.rate_hz))
                    alarms += sum(wrist.sample(*axes) for axes in samples)
                elif block.kind == "ecg":
                    chest = heart.get(device) or heart.setdefault(device, Heart(block.rate_hz))
                    alarms += sum(chest.sample(value) for (value,) in samples)
                elif block.kind == "pressure_map":
                    mattress = bed.get(device) or bed.setdefault(device, Bed(len(samples[0])))
                    alarms += sum(mattress.map(cells, block.shape[1]) for cells in samples)
                elif block.kind == "room_air":
                    room = levels.get(device) or levels.setdefault(device, Levels())
                    for smoke, co, heat, humidity in samples:
                        alarms += smoke > SMOKE_OD_PER_M or co > CO_PPM or heat > HEAT_C
                        alarms += room.reading({"smoke": smoke, "co": co, "heat": heat, "humidity": humidity})
                elif block.kind == "vitals":
                    vital = levels.get(device) or levels.setdefault(device, Levels())
                    alarms += sum(vital.reading(dict(zip("hrstud", values, strict=True))) for values in samples)
    return alarms
