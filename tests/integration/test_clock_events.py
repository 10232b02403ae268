"""Readings as devices send them, through the engine to the detectors: what is dangerous is raised whatever the clock says."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.fire.detector import FireDetector
from detectors.heart.detector import HeartDetector
from detectors.heart.examples import ecg
from detectors.pressure_injury.detector import PressureInjuryDetector
from detectors.pressure_injury.examples import maps
from engine.block import NO_SEQ, Block
from engine.engine import Engine
from engine.events import Event
from engine.frame import NS_PER_S, Samples
from engine.registry import Binding, Registry, RegistryData

T0_NS = 1_767_571_200 * NS_PER_S


class Device:
    """One device, its engine, and the events so far."""

    def __init__(self, detector: HeartDetector | FireDetector | PressureInjuryDetector, subject: str = "resident/a") -> None:
        self.engine = Engine([detector], Registry(RegistryData(bindings=(Binding("d1", subject, "h/w"),))))
        self.events: list[Event] = []
        self.minutes = 0  # of measurements that the detector made

    def send(
        self,
        kind: str,
        t_s: float,
        arrival_s: float,
        samples: Samples,
        *,
        seq: int = NO_SEQ,
        rate_hz: float = 0.0,
        shape: tuple[int, int] | None = None,
    ) -> None:
        """A chunk; times in seconds from the start."""
        t0_ns = np.array([T0_NS + round(t_s * NS_PER_S)])
        block = Block(kind, ("d1",), t0_ns, np.array([seq]), rate_hz, samples[None], np.zeros(1, np.uint8), shape or (1, samples.shape[1]))
        out = self.engine.step(block, T0_NS + round(arrival_s * NS_PER_S))
        self.events += out.events
        self.minutes += sum(len(rows.subjects) for rows in out.measurements if rows.name.startswith("feature."))

    def raised(self) -> dict[str, float]:
        """When each event was first raised, in seconds from the start."""
        found: dict[str, float] = {}
        for event in self.events:
            if event.phase == "onset":
                found.setdefault(event.code, (event.arrival_ns - T0_NS) / NS_PER_S)
        return found


def vitals(heart_rate_bpm: float, spo2_percent: float) -> Samples:
    return np.array([[heart_rate_bpm, np.nan, spo2_percent, np.nan, np.nan, np.nan]], np.float32)


@pytest.mark.parametrize("lost", [0.0, 0.2])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
@pytest.mark.parametrize("every_s", [11, 30, 60, 240, 600])
def test_readings_without_a_rate_raise_what_is_dangerous(every_s: int, jitter: float, lost: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        device = Device(HeartDetector(capacity=1))
        for k in range(60):
            if k > 2 and rng.random() < lost:
                continue
            at_s = (k + rng.uniform(-jitter, jitter) / 2) * every_s + 600
            sick = k >= 20
            device.send("vitals", at_s, at_s + 1, vitals(150 if sick else 72, 80 if sick else 97))
        found = device.raised()
        assert set(found) == {"heart.tachycardia", "heart.spo2_low"}
        sick_s = 600 + 20 * every_s
        assert sick_s - every_s <= min(found.values())
        assert max(found.values()) <= sick_s + max(180, 3.5 * every_s)


@pytest.mark.parametrize("every_s", [180, 300])
def test_smoke_every_few_minutes_is_an_alarm_and_no_silence(every_s: int) -> None:
    device = Device(FireDetector(capacity=1), "room/1")
    for k in range(40):
        smoke = 0.5 if k >= 20 else 0.0
        device.send("room_air", k * every_s, k * every_s + 1, np.array([[smoke, 1, 21, 40]], np.float32))
    found = device.raised()
    assert "device.silent" not in found
    assert found["fire.smoke"] <= 20 * every_s + 2 * every_s + 5


@pytest.mark.parametrize("shape", [(64, 32), (8, 4)])
@pytest.mark.parametrize("rate_hz", [0.0, 1 / 60])
def test_a_pressure_map_a_minute_is_judged_with_and_without_a_rate(shape: tuple[int, int], rate_hz: float) -> None:
    rng = np.random.default_rng(4)
    device = Device(PressureInjuryDetector(capacity=1))
    for k, cells in enumerate(maps(1, 200, rng, shape=shape)):
        device.send("pressure_map", 60 * k, 60 * k + 1, cells[None].astype(np.uint16), rate_hz=rate_hz, shape=shape)
    assert "device.silent" not in device.raised()
    assert device.minutes >= 198
    assert shape == (8, 4) or "pressure_injury.turn_overdue" in device.raised()  # 32 cells do not tell a posture, at any rate


@pytest.mark.parametrize("jitter_s", [0.0, 0.3])
@pytest.mark.parametrize("bpm", [140, 170])
@pytest.mark.parametrize("beats", [1, 4])
@pytest.mark.parametrize("numbered", [False, True])
def test_beat_intervals_stamped_on_arrival_become_a_tachycardia(bpm: int, beats: int, numbered: bool, jitter_s: float) -> None:
    rng = np.random.default_rng(bpm)
    device = Device(HeartDetector(capacity=1))
    end_s = 0.0
    for k in range(240 // beats * 2):
        rr_ms = np.round(rng.normal(60_000 / (bpm if end_s > 60 else 75), 8, beats))
        end_s += float(rr_ms.sum()) / 1000
        arrival_s = end_s + 0.1 + rng.uniform(0, jitter_s)
        device.send("rr_interval", arrival_s, arrival_s, rr_ms.astype(np.float32)[:, None], seq=k if numbered else NO_SEQ)
    assert set(device.raised()) == {"heart.tachycardia"}
    assert 60 <= device.raised()["heart.tachycardia"] <= 60 + 30 + 20
    assert device.engine.totals()[1:] == (0, 0, 0)


@pytest.mark.parametrize("wrong_s", [0, -3600, -(T0_NS // NS_PER_S), 7200])
@pytest.mark.parametrize("jitter_s", [0.03, 0.1])
def test_unnumbered_radio_ecg_with_any_clock_raises_an_asystole(jitter_s: float, wrong_s: int) -> None:
    rng = np.random.default_rng(7)
    beats = 0.5 + np.cumsum(60 / 72 * (1 + rng.normal(0, 0.03, 250)))
    beats = beats[(beats < 120) | (beats > 135)]
    signal = ecg(beats, 180.0, 250.0).astype(np.float32)
    device = Device(HeartDetector(capacity=1))
    for first in range(0, len(signal) - 15, 16):
        t_s = first / 250
        stamp_s = t_s + float(rng.uniform(-jitter_s, jitter_s)) + (wrong_s if t_s > 30 else 0)
        device.send("ecg", stamp_s, t_s + 0.2, signal[first : first + 16, None].copy(), rate_hz=250.0)
    assert set(device.raised()) == {"heart.asystole"}
    assert 120 <= device.raised()["heart.asystole"] <= 130
    onset = next(e for e in device.events if e.code == "heart.asystole")
    assert abs(onset.onset_ns - T0_NS - 120 * NS_PER_S) <= 3 * NS_PER_S
