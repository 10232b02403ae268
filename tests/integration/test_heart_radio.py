"""ECG by radio: packets get lost and stamps wobble, and neither may invent an alarm or hide one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from detectors.heart.detector import HeartDetector
from detectors.heart.examples import ecg
from engine.block import NO_SEQ, Block
from engine.engine import Engine
from engine.events import Event
from engine.frame import NS_PER_S, Float64
from engine.outputs import Reason
from engine.registry import Binding, Registry, RegistryData

T0_NS = 1_767_571_200 * NS_PER_S
MINUTE_S = 60.0


class Radio(NamedTuple):
    """How a device sends: packets of `size` samples, a share of them the start of a lost burst, stamps wrong by up to `jitter_s` either way."""

    rate_hz: float
    size: int
    lost: float = 0.0
    burst: int = 1
    jitter_s: float = 0.0
    numbered: bool = True
    seed: int = 1


RADIOS = [(250.0, 16), (360.0, 8), (500.0, 16)]
LOST = [0.001, 0.003, 0.01]


def heartbeats(seconds: float, seed: int, *, bpm: float = 72.0, stop_s: float = np.inf, pause_s: float = 0.0) -> Float64:
    """Beats with the variability of a healthy heart; none during `pause_s` from `stop_s` on."""
    rng = np.random.default_rng(seed)
    rr = 60.0 / bpm * (1.0 + 0.04 * np.sin(np.arange(int(seconds * bpm / 50)) * 1.1) + rng.normal(0, 0.03, int(seconds * bpm / 50)))
    beats = 0.5 + np.cumsum(rr)
    return beats[(beats < seconds) & ~((beats > stop_s) & (beats < stop_s + pause_s))]


def heard(signal: Float64, radio: Radio, holes: tuple[int, ...] = ()) -> tuple[list[Event], int]:
    """What the engine reports about a signal (mV) that was sent like this, and how many packets were lost; `holes`: lost as well."""
    rng = np.random.default_rng(radio.seed)
    engine = Engine([HeartDetector(capacity=1)], Registry(RegistryData(bindings=(Binding("e1", "resident/a", "h/w"),))))
    samples = signal.astype(np.float32)
    events: list[Event] = []
    arrival_ns, lost, until = T0_NS, 0, -1
    for seq, first in enumerate(range(0, len(samples) - radio.size + 1, radio.size)):
        t_ns = T0_NS + round(first * NS_PER_S / radio.rate_hz)
        wrong_ns = int(rng.uniform(-radio.jitter_s, radio.jitter_s) * NS_PER_S)
        if rng.random() < radio.lost:
            until = seq + rng.integers(1, radio.burst + 1)
        if seq < until or seq in holes:
            lost += 1
            continue
        arrival_ns = max(arrival_ns, t_ns + int((radio.size / radio.rate_hz + 0.15) * NS_PER_S))
        block = Block(
            "ecg", ("e1",), np.array([t_ns + wrong_ns]), np.array([seq if radio.numbered else NO_SEQ]), radio.rate_hz,
            samples[None, first : first + radio.size, None].copy(), np.zeros(1, np.uint8), (1, 1),
        )  # fmt: skip
        out = engine.step(block, arrival_ns)
        assert [r for r in out.rejects if r.reason is Reason.INTERNAL] == []
        events += out.events
    return events + engine.advance(arrival_ns + 5 * NS_PER_S).events, lost


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
def test_lost_packets_invent_nothing(rate_hz: float, size: int, lost: float) -> None:
    for seed in (1, 2):
        signal = ecg(heartbeats(21 * MINUTE_S, seed), 21 * MINUTE_S, rate_hz, seed=seed)
        events, gone = heard(signal, Radio(rate_hz, size, lost, seed=seed))
        assert gone > 5
        assert [(e.code, e.phase) for e in events] == [], f"seed {seed}, {gone} packets lost"


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
def test_an_asystole_after_lost_packets_is_raised_in_time(rate_hz: float, size: int, lost: float) -> None:
    for seed in (1, 2):
        stop_s = 10 * MINUTE_S
        beats = heartbeats(11 * MINUTE_S, seed, stop_s=stop_s, pause_s=15.0)
        last_ns = T0_NS + int(beats[beats <= stop_s][-1] * NS_PER_S)
        events, gone = heard(ecg(beats, 11 * MINUTE_S, rate_hz, seed=seed), Radio(rate_hz, size, lost, seed=seed))
        assert gone > 2
        raised = [e for e in events if e.phase == "onset"]
        assert [e.code for e in raised] == ["heart.asystole"], f"seed {seed}"
        assert raised[0].decided_ns - last_ns <= 8 * NS_PER_S


@pytest.mark.parametrize("jitter_s", [0.03, 0.05, 0.1])
@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
@pytest.mark.parametrize("lost", [0.0, 0.003])
def test_stamps_that_wobble_invent_nothing_and_hide_nothing(rate_hz: float, size: int, jitter_s: float, lost: float) -> None:
    for seed in (1, 2):
        radio = Radio(rate_hz, size, lost, jitter_s=jitter_s, seed=seed)
        quiet, _ = heard(ecg(heartbeats(20 * MINUTE_S, seed), 20 * MINUTE_S, rate_hz, seed=seed), radio)
        assert [(e.code, e.phase) for e in quiet] == [], f"seed {seed}"
        beats = heartbeats(3 * MINUTE_S, seed, stop_s=120.0, pause_s=15.0)
        events, _ = heard(ecg(beats, 3 * MINUTE_S, rate_hz, seed=seed), radio)
        assert [e.code for e in events if e.phase == "onset"] == ["heart.asystole"], f"seed {seed}"


@pytest.mark.parametrize("jitter_s", [0.03, 0.05, 0.1])
@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
def test_stamps_that_wobble_invent_nothing_without_numbers(rate_hz: float, size: int, jitter_s: float) -> None:
    for seed in (1, 2):
        signal = ecg(heartbeats(20 * MINUTE_S, seed), 20 * MINUTE_S, rate_hz, seed=seed)
        events, _ = heard(signal, Radio(rate_hz, size, jitter_s=jitter_s, numbered=False, seed=seed))
        assert [(e.code, e.phase) for e in events if e.phase == "onset"] == [], f"seed {seed}"


@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
def test_lost_bursts_invent_nothing_and_hide_nothing(rate_hz: float, size: int) -> None:
    for seed in (1, 2):
        radio = Radio(rate_hz, size, 0.002, burst=8, seed=seed)
        signal = ecg(heartbeats(21 * MINUTE_S, seed), 21 * MINUTE_S, rate_hz, seed=seed)
        assert [(e.code, e.phase) for e in heard(signal, radio)[0]] == [], f"seed {seed}"
        stop_s = 120.0
        beats = heartbeats(3 * MINUTE_S, seed, stop_s=stop_s, pause_s=15.0)
        hole = tuple(range(int((stop_s + 2) * rate_hz / size), int((stop_s + 2.4) * rate_hz / size)))
        events, _ = heard(ecg(beats, 3 * MINUTE_S, rate_hz, seed=seed), Radio(rate_hz, size), hole)
        (raised,) = [e for e in events if e.phase == "onset"]
        assert raised.code == "heart.asystole"
        assert raised.decided_ns - T0_NS <= int((stop_s + 2.4 + 6.0) * NS_PER_S)


@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
def test_a_beat_hidden_in_a_hole_is_no_pause(rate_hz: float, size: int) -> None:
    """At 28 a minute one lost QRS complex makes 4.3 s without a beat, and a hole that a beat fits into is not silence."""
    beats = np.arange(0.5, 240, 60 / 28)
    packets = round(0.09 * rate_hz / size)
    first = [int((beat - packets * size / rate_hz / 2) * rate_hz / size + 0.5) for beat in beats[20:100:5]]
    holes = tuple(number + k for number in first for k in range(packets))
    events, _ = heard(ecg(beats, 240, rate_hz), Radio(rate_hz, size), holes)
    assert [e.code for e in events if e.phase == "onset"] == ["heart.bradycardia"]


@pytest.mark.parametrize(("rate_hz", "size"), RADIOS)
def test_every_second_beat_hidden_in_a_hole_is_no_bradycardia(rate_hz: float, size: int) -> None:
    """A heart at 50 a minute, of which every second beat falls into a hole of some 90 ms: nothing says that it beats 25 times."""
    beats = np.arange(0.5, 180, 1.2)
    packets = round(0.09 * rate_hz / size)
    first = [int((beat - packets * size / rate_hz / 2) * rate_hz / size + 0.5) for beat in beats[20::2]]
    holes = tuple(number + k for number in first for k in range(packets))
    events, gone = heard(ecg(beats, 180, rate_hz), Radio(rate_hz, size), holes)
    assert gone > 50
    assert [e.code for e in events if e.phase == "onset"] == []
