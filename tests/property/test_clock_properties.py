"""Clocks of devices drift, jitter, are set and stand still: what reaches a detector is what a perfect clock would have given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine import device_clock
from engine.block import NO_SEQ, Block
from engine.detector import NOTHING, Detector, Params, Spec, StepResult
from engine.engine import Engine
from engine.frame import NS_PER_S, Frame, Int64
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
            Taken(round(float(values[0, 0]) * (1000 if frame.kind == "accel" else 1), 2), int(t0), int(gap), frame.rate_hz)
            for values, t0, gap in zip(frame.samples, frame.t0_ns, frame.gap_ns, strict=True)
        ]
        return NOTHING


class Home:
    """An engine with one device, and what its detector was given."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.engine = Engine([self.recorder], Registry(RegistryData(bindings=(Binding("w1", "resident/a", "h/w"),))))
        self.silent: list[str] = []

    def send(self, kind: str, content: float, t0_ns: int, arrival_ns: int, *, seq: int = NO_SEQ, n: int = 1, rate_hz: float = 0.0) -> None:
        """A chunk with `content` in it; in that of an accelerometer, beside 1 g."""
        samples = np.full((1, n, CHANNELS[kind]), content, np.uint16 if kind == "pressure_map" else np.float32)
        if kind == "accel":
            samples[:] = content / 1000, 0, 1
        shape = (2, 3) if kind == "pressure_map" else (1, CHANNELS[kind])
        block = Block(kind, ("w1",), np.array([t0_ns]), np.array([seq]), rate_hz, samples, np.zeros(1, np.uint8), shape)
        self.step(block, arrival_ns)

    def step(self, block: Block, arrival_ns: int) -> None:
        """Any chunk."""
        self.silent += [event.phase for event in self.engine.step(block, arrival_ns).events]

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


def test_an_unnumbered_packet_that_was_overtaken_is_put_in_its_place_where_the_stamps_are_good() -> None:
    home = Home()
    order = [*range(200), 201, 200, *range(202, 210), 212, 210, 211, *range(213, 220)]
    for at, k in enumerate(order):
        home.send("ecg", k / 100, START_NS + k * 64 * MS, START_NS + at * 64 * MS + NS_PER_S, n=16, rate_hz=250.0)
    assert home.totals == (220 * 16, 0, 0, 0)
    assert [t.content for t in home.taken] == [k / 100 for k in range(220)]
    assert {t.gap_ns for t in home.taken[1:]} == {0}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["accel", "ecg"]), st.integers(0, 80), st.sampled_from([0, -3600, 7200]), st.booleans(), st.integers(0, 2**32 - 1))
def test_neighbours_in_the_wrong_order_are_put_in_order(kind: str, jitter_ms: int, wrong_s: int, twice: bool, seed: int) -> None:
    """By their numbers or, without them, by their stamps; whatever comes twice is there once."""
    rng = np.random.default_rng(seed)
    numbered = bool(rng.random() < 0.5)
    rate_hz = 50.0 if kind == "accel" else 250.0
    n = round(rate_hz)
    home = Home()
    _lived_seconds(home, kind, wrong_s, range(20), rng, jitter_ms, numbered=numbered, twice=False)
    order = [k + 1 - 2 * (k % 2) for k in range(20, 80)]
    _lived_seconds(home, kind, wrong_s, order, rng, jitter_ms, numbered=numbered, twice=twice)
    home.engine.advance(START_NS + 100 * NS_PER_S)
    numbers = [round(t.content * 64) for t in home.taken]
    assert numbers == sorted(numbers)
    assert set(range(20, 80)) <= set(numbers)
    assert home.totals[2] <= (8 * n if wrong_s else 0)
    assert {t.gap_ns for t in home.taken if t.content * 64 > 20} == {0}


def _lived_seconds(
    home: Home, kind: str, wrong_s: float, order: Sequence[int], rng: np.random.Generator, jitter_ms: int, *, numbered: bool, twice: bool
) -> None:
    """Chunks of a second in this order, at the pace of time."""
    rate_hz = 50.0 if kind == "accel" else 250.0
    for at, k in enumerate(order, min(order)):
        stamp_ns = START_NS + int((k + wrong_s) * NS_PER_S) + int(rng.integers(-jitter_ms, jitter_ms + 1)) * MS
        for again in range(1 + twice):
            arrival_ns = START_NS + (max(at, k) + 1) * NS_PER_S + (300 if at > k else 200) * MS + again
            home.send(kind, k / 64, stamp_ns, arrival_ns, seq=k if numbered else NO_SEQ, n=round(rate_hz), rate_hz=rate_hz)


@pytest.mark.parametrize("stream", ["1 s", "accel"])
def test_bursts_that_come_newest_first_are_put_in_order(stream: str) -> None:
    kind, n, rate_hz, _ = STREAMS[stream]
    home = Home()
    for burst in range(5):
        for k in range(burst * 30 + 29, burst * 30 - 1, -1):
            arrival_ns = START_NS + (burst + 1) * 30 * NS_PER_S + 20 * MS * (29 - k % 30)
            home.send(kind, k / 64, START_NS + k * NS_PER_S, arrival_ns, seq=k, n=n, rate_hz=rate_hz)
    assert home.totals == (121 * n, 0, 29 * n, 0)  # of the first burst only the newest: what comes later cannot be known by then
    assert [round(t.content * 64) for t in home.taken] == list(range(29, 150))
    assert {t.gap_ns for t in home.taken[1:]} == {0}
    assert home.engine.held() == 0


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


# -- clocks that are set -------------------------------------------------------------------------------------------------------

STREAMS = {
    "1 s": ("vitals", 1, 1.0, 1.0),
    "5 s": ("vitals", 1, 0.0, 5.0),
    "1 min": ("vitals", 1, 0.0, 60.0),
    "4 min": ("room_air", 1, 0.0, 240.0),
    "2 s": ("vitals", 2, 1.0, 2.0),
    "accel": ("accel", 50, 50.0, 1.0),
    "ecg": ("ecg", 16, 250.0, 0.064),
}
"""Kind, samples a chunk, declared rate (0: none), seconds between chunks."""
WRONG_S = st.one_of(
    st.sampled_from([-3600, 3600, -600, 600, -(START_NS // NS_PER_S) + 5, 30 * 86_400]),
    st.integers(-700_000, -130),
    st.integers(130, 700_000),
)
"""By how much a clock is wrong: an hour, ten minutes, 1970, a month ahead, anything of more than two minutes."""


def _lived(
    home: Home, stream: str, wrong_s: float, first: int, count: int, numbers_from: int | None, rng: np.random.Generator, lost: float = 0.0
) -> list[int]:
    """`count` chunks from chunk `first` on with a clock that is wrong by `wrong_s`; those that were sent."""
    kind, n, rate_hz, every_s = STREAMS[stream]
    sent = []
    span_ns = int(n / rate_hz * NS_PER_S) if n > 1 else 0
    for k in range(first, first + count):
        if rng.random() < lost:
            continue
        begun_ns = START_NS + int(k * every_s * NS_PER_S)
        arrival_ns = begun_ns + span_ns + 300 * MS + int(rng.uniform(0, 0.03) * NS_PER_S)
        seq = NO_SEQ if numbers_from is None else k - first + numbers_from
        home.send(kind, k / 64, begun_ns + int(wrong_s * NS_PER_S), arrival_ns, seq=seq, n=n, rate_hz=rate_hz)
        sent.append(k)
    return sent


def _judged(home: Home, stream: str, sent: list[int], lost_max: int) -> None:
    """All but the first few of `sent` reached the detector, in order, at the time at which they were measured."""
    every_s = STREAMS[stream][3]
    numbers = [round(t.content * 64) for t in home.taken]
    at = {k: t for k, t in zip(numbers, home.taken, strict=True) if k in set(sent)}
    assert set(sent[lost_max:]) <= set(at), (sent[lost_max:], sorted(at))
    for k in sent[lost_max:]:
        true_ns = START_NS + int(k * every_s * NS_PER_S)
        assert abs(at[k].start_ns - true_ns) <= 2 * NS_PER_S, (k, (at[k].start_ns - true_ns) / NS_PER_S)


def _told_apart(stream: str, wrong_s: float) -> bool:
    """Whether a clock that is so wrong shows: a reading may be stamped where its interval begins, and some of the first may be lost."""
    return not -60 - 4 * STREAMS[stream][3] <= wrong_s < 0


def _count(stream: str) -> int:
    """Chunks of 16 s, 30 at least."""
    return max(30, round(16 / STREAMS[stream][3]))


def _lost_max(stream: str) -> int:
    """Five chunks, or as many as make 8 s."""
    return max(5, round(8 / STREAMS[stream][3]))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(STREAMS)), WRONG_S, st.booleans(), st.sampled_from([0.0, 0.2]), st.integers(0, 2**32 - 1))
def test_a_clock_that_is_wrong_from_the_start_is_known_by_its_pace(
    stream: str, wrong_s: int, numbered: bool, lost: float, seed: int
) -> None:
    assume(_told_apart(stream, wrong_s))
    rng = np.random.default_rng(seed)
    home = Home()
    sent = _lived(home, stream, wrong_s, 0, _count(stream), 0 if numbered else None, rng, lost)
    home.engine.advance(START_NS + int(_count(stream) * STREAMS[stream][3] + 10) * NS_PER_S)
    _judged(home, stream, sent, _lost_max(stream) * (2 if lost else 1))  # what waits for a lost one comes at once, which shows no pace
    assert abs(home.offset_s + wrong_s) <= 3


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(STREAMS)), WRONG_S, st.booleans(), st.booleans(), st.sampled_from([0.0, 0.2]), st.integers(0, 2**32 - 1))
def test_a_device_that_starts_again_with_a_wrong_clock(
    stream: str, wrong_s: int, numbered: bool, off: bool, lost: float, seed: int
) -> None:
    assume(_told_apart(stream, wrong_s))
    rng = np.random.default_rng(seed)
    home = Home()
    _lived(home, stream, 0, 0, 40, 0 if numbered else None, rng, lost)
    first = 40 + (round(30 / STREAMS[stream][3]) + 1 if off else 0)  # it may take half a minute to start
    sent = _lived(home, stream, wrong_s, first, _count(stream), 0 if numbered else None, rng, lost)
    held = max(10, round(4 / STREAMS[stream][3]))  # so many may wait for one that was lost
    _judged(home, stream, sent[:-held], _lost_max(stream) * (2 if lost else 1))
    assert abs(home.offset_s + wrong_s) <= 3
    good = _lived(home, stream, 0, first + _count(stream), 20, _count(stream) if numbered else None, rng, lost)
    home.engine.advance(START_NS + int((first + _count(stream) + 20) * STREAMS[stream][3] + 10) * NS_PER_S)
    _judged(home, stream, good, 1)
    assert home.offset_s == 0


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["1 s", "2 s", "accel", "ecg"]), WRONG_S, st.integers(0, 2**32 - 1))
def test_a_clock_that_is_set_between_two_numbers_costs_nothing(stream: str, wrong_s: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    sent = _lived(home, stream, 0, 0, 20, 0, rng) + _lived(home, stream, wrong_s, 20, 40, 20, rng)
    _judged(home, stream, sent, 0)
    assert {t.gap_ns for t in home.taken[1:]} == {0}
    assert home.totals[1:] == (0, 0, 0)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["1 s", "5 s", "2 s", "accel"]),
    st.sampled_from([0, -3600, 7200]),
    st.booleans(),
    st.integers(3, 20),
    st.integers(0, 2**32 - 1),
)
def test_what_was_stored_keeps_its_own_time(stream: str, wrong_s: int, numbered: bool, faster: int, seed: int) -> None:
    """Connected, ten minutes (or 50 chunks) without a network, then all of it as fast as the network takes it."""
    rng = np.random.default_rng(seed)
    kind, n, rate_hz, every_s = STREAMS[stream]
    home = Home()
    _lived(home, stream, wrong_s, 0, 100, 0 if numbered else None, rng)
    stored = max(50, round(600 / every_s))
    back_ns = START_NS + int((100 + stored) * every_s * NS_PER_S)
    k, sent, now_ns = 100, [], back_ns
    while True:
        begun_ns = START_NS + int(k * every_s * NS_PER_S)
        ready_ns = begun_ns + (int(n / rate_hz * NS_PER_S) if n > 1 else 0) + 300 * MS
        if ready_ns > now_ns:
            break
        home.send(kind, k / 64, begun_ns + wrong_s * NS_PER_S, now_ns, seq=k if numbered else NO_SEQ, n=n, rate_hz=rate_hz)
        sent.append(k)
        now_ns += int(every_s / faster * NS_PER_S)
        k += 1
    sent += _lived(home, stream, wrong_s, k, 60, k if numbered else None, rng)
    _judged(home, stream, sent, 0)
    assert abs(home.offset_s + wrong_s) <= 3


SLOW = {
    "map": ("pressure_map", 60.0),
    "map of 30 s": ("pressure_map", 30.0),
    "air": ("room_air", 10.0),
    "air of 5 min": ("room_air", 300.0),
}
"""Single readings that say how seldom they come."""


def _reading(home: Home, slow: str, k: int, stamp_ns: int, *, at_end: bool, numbered: bool, arrival_ns: int | None = None) -> None:
    """Reading `k`, stamped where its interval begins or ends, relative to START_NS."""
    kind, every_s = SLOW[slow]
    begun_ns = START_NS + int(k * every_s * NS_PER_S)
    arrival_ns = arrival_ns if arrival_ns is not None else begun_ns + int(every_s * NS_PER_S) + 200 * MS
    stamp_ns += int(every_s * NS_PER_S) if at_end else 0
    home.send(kind, k, stamp_ns, arrival_ns, seq=k if numbered else NO_SEQ, rate_hz=1 / every_s)


def _none_lost(home: Home, slow: str, count: int, first: int = 0) -> None:
    """All readings reached the detector once, in order, at most an interval from the time they are about, and what a clock may be ahead."""
    every_s = SLOW[slow][1]
    taken = [t for t in home.taken if t.content >= first]
    assert [round(t.content) for t in taken] == list(range(first, count))
    for k, t in enumerate(taken, first):
        assert -2 <= (t.start_ns - START_NS) / NS_PER_S - k * every_s <= every_s + 60, k
    assert home.totals[2:] == (0, 0)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(SLOW)), st.one_of(st.just(0), WRONG_S), st.booleans(), st.booleans())
def test_a_slow_stream_loses_nothing_while_its_clock_is_found_wrong(slow: str, wrong_s: int, at_end: bool, numbered: bool) -> None:
    home = Home()
    every_s = SLOW[slow][1]
    for k in range(40):
        _reading(home, slow, k, START_NS + int((k * every_s + wrong_s) * NS_PER_S), at_end=at_end, numbered=numbered)
    # a clock that is behind by less than an interval more than a clock may be behind is taken as it is
    if not -60 - 2 * every_s <= wrong_s < 0:
        _none_lost(home, slow, 40)
    assert home.totals[0] == 40


@pytest.mark.parametrize("divisor", [1_000_000, NS_PER_S])
@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("slow", list(SLOW))
def test_a_slow_stream_with_times_in_another_unit_is_judged_by_arrival(slow: str, numbered: bool, divisor: int) -> None:
    home = Home()
    for k in range(40):
        stamp_ns = (START_NS + int(k * SLOW[slow][1] * NS_PER_S)) // divisor
        _reading(home, slow, k, stamp_ns, at_end=False, numbered=numbered)
    _none_lost(home, slow, 40)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(SLOW)), WRONG_S, st.booleans(), st.booleans())
def test_a_slow_stream_whose_clock_is_set_or_flaps_loses_nothing(slow: str, wrong_s: int, at_end: bool, flaps: bool) -> None:
    home = Home()
    every_s = SLOW[slow][1]
    for k in range(60):
        wrong = wrong_s if k >= 20 and (k % 2 or not flaps) else 0
        _reading(home, slow, k, START_NS + int((k * every_s + wrong) * NS_PER_S), at_end=at_end, numbered=True)
    if not -60 - 2 * every_s <= wrong_s < 0:
        _none_lost(home, slow, 60)
    assert home.totals == (60, 0, 0, 0)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("slow", ["map", "map of 30 s", "air"])
def test_what_a_slow_stream_had_stored_before_it_was_first_heard_keeps_its_own_time(slow: str, numbered: bool) -> None:
    """All but the first reading: that one could be live with a clock that is behind."""
    home = Home()
    every_s = SLOW[slow][1]
    stored = round(1800 / every_s)
    for k in range(stored):
        arrival_ns = START_NS + int(1800.2 * NS_PER_S) + k * 100 * MS
        _reading(home, slow, k, START_NS + int(k * every_s * NS_PER_S), at_end=False, numbered=numbered, arrival_ns=arrival_ns)
    for k in range(stored, stored + 20):
        _reading(home, slow, k, START_NS + int(k * every_s * NS_PER_S), at_end=False, numbered=numbered)
    _none_lost(home, slow, stored + 20, first=1)
    assert home.totals == (stored + 20, 0, 0, 0)
    assert home.offset_s == 0


@pytest.mark.parametrize("at_s", [0, -600, 3600, -(START_NS // NS_PER_S)])
@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("stream", ["1 s", "2 s", "1 min", "accel", "ecg"])
def test_a_clock_that_stands_still_is_judged_by_arrival(stream: str, numbered: bool, at_s: int) -> None:
    kind, n, rate_hz, every_s = STREAMS[stream]
    home = Home()
    span_ns = int(n / rate_hz * NS_PER_S) if n > 1 else 0
    count = 80 if every_s >= 1 else 400
    for k in range(count):
        arrival_ns = START_NS + int(k * every_s * NS_PER_S) + span_ns + 300 * MS
        for again in range(2):  # everything comes twice
            home.send(kind, k / 64, START_NS + at_s * NS_PER_S, arrival_ns + again, seq=k if numbered else NO_SEQ, n=n, rate_hz=rate_hz)
    _judged(home, stream, list(range(count)), _lost_max(stream))
    numbers = [round(t.content * 64) for t in home.taken]
    assert numbers == sorted(set(numbers))
    assert home.offset_s != 0


def test_the_same_again_without_a_number_is_not_taken_for_a_clock_that_stands_still() -> None:
    home = Home()
    for k in range(200):
        home.send("vitals", 72.0, START_NS, START_NS + k * NS_PER_S + NS_PER_S)
    assert home.totals == (1, 199, 0, 0)
    assert [event.phase for event in home.engine.advance(START_NS + 5000 * NS_PER_S).events] == ["onset"]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(STREAMS)), WRONG_S, st.booleans(), st.integers(0, 159), st.integers(0, 2**32 - 1))
def test_a_snapshot_at_any_moment_changes_nothing(stream: str, wrong_s: int, numbered: bool, cut: int, seed: int) -> None:
    outcomes = []
    for restored in (False, True):
        rng = np.random.default_rng(seed)
        home = Home()
        for life in range(4):
            wrong = wrong_s if life % 2 else 0
            for part in (range(life * 40, min(cut, life * 40 + 40)), range(max(cut, life * 40), life * 40 + 40)):
                if len(part) > 0:
                    first = part[0] - life * 40
                    _lived(home, stream, wrong, part[0], len(part), first if numbered else None, rng, 0.1)
                if restored and part.stop == cut:
                    second = Home()
                    second.engine.restore(home.engine.snapshot())
                    second.recorder.taken = home.taken
                    home = second
        outcomes.append((home.taken, home.totals, home.engine.snapshot()))
    assert outcomes[0] == outcomes[1]


# -- single readings -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["vitals", "room_air", "pressure_map"]),
    st.integers(11, 600),
    st.floats(0, 0.2),
    st.sampled_from([0.0, 0.1, 0.2]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_interval_of_single_readings_is_the_interval_measured(
    kind: str, every_s: int, jitter: float, lost: float, numbered: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    sent = 0
    for k in range(30):
        if k >= 3 and rng.random() < lost:
            continue
        at_ns = START_NS + int((k + rng.uniform(-jitter, jitter)) * every_s * NS_PER_S)
        home.send(kind, k, at_ns, at_ns + NS_PER_S, seq=k if numbered else NO_SEQ)
        sent += 1
    assert home.totals[1:] == (0, 0, 0)
    assert home.totals[0] + home.engine.held() == sent
    assert home.taken[0].rate_hz == 0
    periods = [1 / t.rate_hz for t in home.taken[1:]]
    assert 0.5 * every_s <= min(periods)
    assert max(periods) <= (1.5 if lost == 0 else 4 + 2 * jitter) * every_s  # two holes of three readings on end are rare
    assert lost > 0 or home.silent == []


@pytest.mark.parametrize(("declared_hz", "every_s"), [(1.0, 60.0), (1 / 60, 1.0), (1 / 60, 300.0)])
def test_a_declared_interval_that_is_far_off_is_measured(declared_hz: float, every_s: float) -> None:
    home = Home()
    for k in range(10):
        at_ns = START_NS + int(k * every_s * NS_PER_S)
        home.send("vitals", k, at_ns, at_ns + NS_PER_S, rate_hz=declared_hz)
    assert home.totals == (10, 0, 0, 0)
    assert home.taken[-1].rate_hz == pytest.approx(1 / every_s)


def test_readings_whose_interval_changes_are_followed() -> None:
    """A battery runs low: every second, then every minute."""
    home = Home()
    at_ns = START_NS
    for k in range(40):
        at_ns += (1 if k < 20 else 60) * NS_PER_S
        home.send("vitals", k, at_ns, at_ns + NS_PER_S)
    assert home.taken[19].rate_hz == 1.0
    assert home.taken[-1].rate_hz == pytest.approx(1 / 60)
    assert home.silent == []


@given(st.integers(300, 2000), st.integers(300, 2000), st.integers(-200, 200), st.integers(-7000, 7000))
def test_chunks_with_other_values_are_told_apart(first: int, second: int, more: int, other: int) -> None:
    pairs = np.array([[[first], [second]], [[first + more], [second + other]], [[first + 1], [second - 31]]], np.float32)
    tags = [device_clock.digest(pairs, row) for row in range(3)]
    assert tags == [device_clock.digest.py_func(pairs, row) for row in range(3)]  # type: ignore[attr-defined]
    assert len(set(tags)) == len({tuple(pair) for pair in pairs[:, :, 0].tolist()})


# -- beat intervals ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["start", "end", "arrival", "batch"]),
    st.integers(40, 180),
    st.integers(1, 8),
    st.integers(0, 400),
    st.booleans(),
    st.floats(-0.02, 0.02),
    st.integers(0, 2**32 - 1),
)
def test_beat_intervals_follow_one_another_however_they_are_stamped(
    stamped: str, bpm: int, beats: int, delay_ms: int, numbered: bool, drift: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    end_ns, batch_ns = START_NS, START_NS
    chunks = []
    for k in range(200):
        rr_ms = np.maximum(300, rng.normal(60_000 / bpm, 20, beats)).round()
        begun_ns, end_ns = end_ns, end_ns + int(rr_ms.sum() * MS / (1 + drift))
        arrival_ns = end_ns + int(rng.integers(50, 51 + delay_ms)) * MS
        if stamped == "batch":  # a gateway that passes on what came in the last 10 s, all with one stamp
            batch_ns = max(batch_ns, START_NS + ((end_ns - START_NS) // (10 * NS_PER_S) + 1) * 10 * NS_PER_S)
            arrival_ns = batch_ns
        stamp_ns = {"start": begun_ns, "end": end_ns, "arrival": arrival_ns, "batch": batch_ns}[stamped]
        chunks.append((arrival_ns, k, stamp_ns, rr_ms))
    last_ns = 0
    for arrival_ns, k, stamp_ns, rr_ms in chunks:
        last_ns = max(last_ns, arrival_ns)
        samples = rr_ms.astype(np.float32).reshape(1, beats, 1)
        block = Block(
            "rr_interval", ("w1",), np.array([stamp_ns]), np.array([k if numbered else NO_SEQ]), 0.0, samples, np.zeros(1, np.uint8), (1, 1)
        )
        home.engine.step(block, last_ns)
    processed, repeated, late, refused = home.totals
    # without numbers, two chunks with one stamp and the same values are one that came twice
    assert (late, refused) == (0, 0)
    said = [(stamp_ns, *rr_ms.tolist()) for _, _, stamp_ns, rr_ms in chunks]
    assert repeated == (0 if numbered else beats * (len(said) - len(set(said))))
    assert processed + repeated == 200 * beats
    assert {t.gap_ns for t in home.taken[1:]} == {0}
    assert all(b.start_ns >= a.start_ns for a, b in zip(home.taken, home.taken[1:], strict=False))
    if stamped != "batch":
        assert abs(home.taken[-1].start_ns - chunks[-1][2]) <= 2 * NS_PER_S
    assert home.offset_s == 0


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.integers(8, 600), st.sampled_from([0.4, 1.0]))
def test_a_real_hole_in_beat_intervals_is_one(numbered: bool, hole_s: int, rr_s: float) -> None:
    home = Home()
    for k in range(100):
        end_ns = START_NS + int((k + 1) * rr_s * NS_PER_S) + (hole_s * NS_PER_S if k >= 50 else 0)
        seq = k + (int(hole_s / rr_s) if k >= 50 else 0)
        samples = np.full((1, 1, 1), rr_s * 1000 + k % 3, np.float32)
        block = Block(
            "rr_interval", ("w1",), np.array([end_ns]), np.array([seq if numbered else NO_SEQ]), 0.0, samples, np.zeros(1, np.uint8), (1, 1)
        )
        home.engine.step(block, end_ns + 100 * MS)
    home.engine.advance(end_ns + 10 * NS_PER_S)
    gaps = [t.gap_ns for t in home.taken[1:] if t.gap_ns != 0]
    assert len(gaps) == 1
    assert abs(gaps[0] - hole_s * NS_PER_S) <= NS_PER_S
    assert home.totals == (100, 0, 0, 0)


@settings(max_examples=30, deadline=None)
@given(WRONG_S, st.booleans(), st.integers(0, 2**32 - 1))
def test_beat_intervals_of_a_clock_that_was_set_are_judged(wrong_s: int, numbered: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = Home()
    end_ns = START_NS
    for k in range(100):
        rr_ms = float(rng.integers(380, 460))
        end_ns += int(rr_ms * MS)
        stamp_ns = end_ns + (wrong_s * NS_PER_S if k >= 40 else 0)
        samples = np.full((1, 1, 1), rr_ms, np.float32)
        seq = (k if k < 40 else k - 40) if numbered else NO_SEQ
        block = Block("rr_interval", ("w1",), np.array([stamp_ns]), np.array([seq]), 0.0, samples, np.zeros(1, np.uint8), (1, 1))
        home.engine.step(block, end_ns + 100 * MS)
    assert home.totals[0] >= 80
    assert abs(home.offset_s + wrong_s) <= 3
    assert abs(home.taken[-1].start_ns - end_ns) <= 3 * NS_PER_S


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.2, 0.2), st.booleans(), st.sampled_from([1, 10, 25]), st.integers(0, 2**32 - 1))
def test_beat_intervals_with_a_clock_just_at_the_bound_are_judged(beyond_s: float, numbered: bool, beats: int, seed: int) -> None:
    """Some chunks are within the bound and some are not: they are longer and shorter."""
    ahead_s = 60.2 + 0.4 * beats + beyond_s
    rng = np.random.default_rng(seed)
    home = Home()
    begun_ns = START_NS
    for k in range(100):
        rr_ms = rng.normal(400, 40, beats).round().clip(300)
        end_ns = begun_ns + int(rr_ms.sum()) * MS
        samples = rr_ms.astype(np.float32).reshape(1, beats, 1)
        stamp, seq = np.array([begun_ns + int(ahead_s * NS_PER_S)]), np.array([k if numbered else NO_SEQ])
        home.engine.step(Block("rr_interval", ("w1",), stamp, seq, 0.0, samples, np.zeros(1, np.uint8), (1, 1)), end_ns + 200 * MS)
        begun_ns = end_ns
    lost = 100 - home.totals[0] / beats
    assert lost <= max(8, round(12 / 0.4 / beats))
    assert home.totals[1:3] == (0, 0)
    assert {t.gap_ns for t in home.taken[-60:]} == {0}


def test_beat_intervals_that_wander_over_the_bound_are_taken_as_before() -> None:
    """A strap 70 s ahead that sends every ten seconds: by its stamp the chunk begins 59 to 61 s after it came."""
    home = Home()
    begun_ns = START_NS
    for k in range(60):
        beats = 25 if k < 20 or k % 3 else 24
        end_ns = begun_ns + beats * 400 * MS
        samples = np.full((1, beats, 1), 400, np.float32)
        stamp = np.array([begun_ns + 70 * NS_PER_S])
        home.engine.step(
            Block("rr_interval", ("w1",), stamp, np.array([k]), 0.0, samples, np.zeros(1, np.uint8), (1, 1)), end_ns + 200 * MS
        )
        begun_ns = end_ns
    assert len(home.taken) == 60
    assert {t.gap_ns for t in home.taken[1:]} == {0}
