"""Clocks of devices drift, jitter, are set and stand still: what reaches a detector is what a perfect clock would have given."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.block import NO_SEQ, Block
from engine.detector import NOTHING, Detector, Params, Spec, StepResult
from engine.engine import Engine
from engine.frame import GAP_RESTART, NS_PER_S, Frame, Int64
from engine.registry import Binding, Registry, RegistryData

START_NS = 1_767_600_000 * NS_PER_S
CHANNELS = {"accel": 3, "ecg": 1, "vitals": 6, "rr_interval": 1, "room_air": 4, "pressure_map": 6}
MS = 1_000_000


class Taken(NamedTuple):
    """What a detector was given of one chunk: its content (the number of the chunk), when it began, the gap before it, the rate."""

    content: float
    start_ns: int
    gap_ns: int
    rate_hz: float


class Nothing(NamedTuple):
    none: Int64


class Recorder(Detector[Params, Nothing]):
    """Notes every chunk."""

    spec: ClassVar[Spec] = Spec("recorder", 1, tuple(CHANNELS), (), 1.0, 0.0, ())
    params_type = Params

    def initial_state(self, capacity: int) -> Nothing:
        self.taken: list[Taken] = []
        return Nothing(np.zeros(capacity, np.int64))

    def step(self, frame: Frame) -> StepResult:
        self.taken += [
            Taken(float(values[0, 0]), int(t0), int(gap), frame.rate_hz)
            for values, t0, gap in zip(frame.samples, frame.t0_ns, frame.gap_ns, strict=True)
        ]
        return NOTHING


class Home:
    """An engine with one device, and what its detector was given."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.engine = Engine([self.recorder], Registry(RegistryData(bindings=(Binding("w1", "resident/a", "h/w"),))))
        self.silent: list[str] = []

    def send(
        self,
        kind: str,
        content: float,
        t0_ns: int,
        arrival_ns: int,
        *,
        seq: int = NO_SEQ,
        n: int = 1,
        rate_hz: float = 0.0,
        each: bool = False,
    ) -> None:
        """A chunk with `content` in every sample, or (`each`) one that is that content and small numbers after it."""
        dtype = np.uint16 if kind == "pressure_map" else np.float32
        samples = np.full((1, n, CHANNELS[kind]), content, dtype)
        if each:
            samples[0, :, 0] += np.arange(n, dtype=dtype)
        shape = (2, 3) if kind == "pressure_map" else (1, CHANNELS[kind])
        block = Block(kind, ("w1",), np.array([t0_ns]), np.array([seq]), rate_hz, samples, np.zeros(1, np.uint8), shape)
        out = self.engine.step(block, arrival_ns)
        self.silent += [event.phase for event in out.events]

    @property
    def taken(self) -> list[Taken]:
        return self.recorder.taken

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """Readings processed, duplicate, late, quarantined."""
        return self.engine.totals()

    @property
    def offset_s(self) -> float:
        return float(self.engine.devices.streams.clock_offset_ns[0]) / NS_PER_S


# -- drift and jitter ----------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.floats(-0.05, 0.05), st.integers(0, 100), st.sampled_from([0.5, 1, 2, 10]), st.booleans(), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_drift_and_jitter_lose_nothing_and_make_no_holes(drift: float, jitter_ms: int, chunk_s: float, numbered: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    count, n = 200, int(50 * chunk_s)
    true_ns = [START_NS + int(k * chunk_s * NS_PER_S / (1 + drift)) for k in range(count)]
    for k, begun_ns in enumerate(true_ns):
        stamp_ns = begun_ns + int(rng.integers(-jitter_ms, jitter_ms + 1)) * MS
        home.send("accel", k, stamp_ns, begun_ns + int((chunk_s * 1.06 + 0.3) * NS_PER_S), seq=k if numbered else -1, n=n, rate_hz=50.0)
    assert home.totals == (count * n, 0, 0, 0)
    assert [t.content for t in home.taken] == list(range(count))
    assert {t.gap_ns for t in home.taken[1:]} == {0}
    worst_ns = max(abs(t.start_ns - begun_ns) for t, begun_ns in zip(home.taken, true_ns, strict=True))
    assert worst_ns <= 0.25 * chunk_s * NS_PER_S + 3 * jitter_ms * MS
    assert all(b.start_ns > a.start_ns for a, b in zip(home.taken, home.taken[1:], strict=False))
    assert home.offset_s == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100), st.booleans(), st.floats(-0.05, 0.05), st.integers(0, 2**32 - 1))
def test_short_ecg_packets_lose_nothing_and_repeats_stay_repeats(jitter_ms: int, numbered: bool, drift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    repeats = 0
    for k in range(600):
        begun_ns = START_NS + int(k * 64 * MS / (1 + drift))
        stamp_ns = begun_ns + int(rng.integers(-jitter_ms, jitter_ms + 1)) * MS
        for again in range(2 if rng.random() < 0.3 else 1):
            home.send("ecg", k / 100, stamp_ns, begun_ns + NS_PER_S + again, seq=k if numbered else -1, n=16, rate_hz=250.0)
            repeats += again
    assert home.totals == (600 * 16, repeats * 16, 0, 0)
    assert sum(t.gap_ns for t in home.taken[1:]) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.booleans(), st.sampled_from(["accel", "ecg"]), st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_a_real_gap_is_still_a_gap(jitter_ms: int, numbered: bool, kind: str, lost_half_s: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    rate_hz, n = (50.0, 50) if kind == "accel" else (250.0, 16)
    each_ns = int(n / rate_hz * NS_PER_S)
    lost = int(lost_half_s * NS_PER_S // 2 // each_ns)
    sent = [k for k in range(800) if not 200 <= k < 200 + lost]
    for k in sent:
        begun_ns = START_NS + k * each_ns
        stamp_ns = begun_ns + int(rng.integers(-jitter_ms, jitter_ms + 1)) * MS
        home.send(kind, k / 100, stamp_ns, begun_ns + each_ns + 200 * MS, seq=k if numbered else -1, n=n, rate_hz=rate_hz)
    home.engine.advance(START_NS + 1000 * NS_PER_S)
    assert home.totals == (len(sent) * n, 0, 0, 0)
    gaps = {round(t.content * 100): t.gap_ns for t in home.taken[1:] if t.gap_ns != 0}
    assert list(gaps) == [200 + lost]
    assert abs(gaps[200 + lost] - lost * each_ns) <= 4 * jitter_ms * MS


def test_an_unnumbered_packet_that_was_overtaken_is_late_where_the_stamps_are_good() -> None:
    home = Home()
    order = [*range(100), 101, 100, *range(102, 110)]
    for at, k in enumerate(order):
        home.send("ecg", k, START_NS + k * 64 * MS, START_NS + at * 64 * MS + NS_PER_S, n=16, rate_hz=250.0)
    assert home.totals == (109 * 16, 0, 16, 0)


def test_a_backlog_stays_late_and_keeps_its_time() -> None:
    for numbered in (False, True):
        home = Home()
        for k in range(100, 160):
            home.send("accel", k, START_NS + k * NS_PER_S, START_NS + (k + 1) * NS_PER_S, seq=k if numbered else -1, n=50, rate_hz=50.0)
        for k in range(60):  # a minute that the device had stored, in six seconds
            arrival_ns = START_NS + 161 * NS_PER_S + k * NS_PER_S // 10
            home.send("accel", k, START_NS + k * NS_PER_S, arrival_ns, seq=k if numbered else -1, n=50, rate_hz=50.0)
        assert home.totals == (3000, 0, 3000, 0)
        assert home.offset_s == 0
