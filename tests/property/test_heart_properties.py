"""Holes in an ECG: what is bridged is a run of missing samples, and the running sums stay those of the rings."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.heart import state as columns
from detectors.heart.detector import HeartDetector
from detectors.heart.examples import ecg
from detectors.heart.qrs import Grid, grid
from detectors.heart.state import AREA_0, DOWN, LEADS, RING, SLOPE_0, HeartState, N
from engine.frame import NS_PER_S, Float32, frame

RATES = (125.0, 250.0, 500.0)
"""Their sample periods are whole nanoseconds, so a hole is exactly so many samples."""
SIGNALS = {
    rate: np.stack(
        [ecg(np.arange(0.5, 40, 0.83), 40, rate, seed=1), 0.6 * ecg(np.arange(0.51, 40, 0.83), 40, rate, seed=2)], axis=1
    ).astype(np.float32)
    for rate in RATES
}
COUNTS = [
    getattr(columns, name)
    for name in [
        "RAW",
        "CARRY",
        "GOOD_0",
        "GOOD_1",
        "N",
        "MISSING_0",
        "MISSING_1",
        "SAME",
        "DOWN",
        "LEARN",
        "PEAK_N",
        "LAST_BAD",
        "BEAT_COUNT",
        "CHAIN",
        "KNOWN",
        "SEARCH_DUE",
        "SECOND_DUE",
    ]
]
LEVELS = [
    getattr(columns, name)
    for name in [
        "SUM_0",
        "SUM_1",
        "HELD_0",
        "HELD_1",
        "BASE_0",
        "BASE_1",
        "SLOPE_0",
        "SLOPE_1",
        "AREA_0",
        "AREA_1",
        "LAST_S",
        "PEAK",
        "THRESHOLD",
        "LAST_BEAT",
        "TYPICAL_RR",
    ]
]
holes = st.lists(st.tuples(st.integers(1, 90), st.one_of(st.just(0), st.floats(0, 1))), min_size=5, max_size=60)


def from_rings(state: HeartState, g: Grid, lead: int) -> tuple[float, float]:
    """The sums behind slope and area of one lead, as its definition says: over the last samples in the rings."""
    last = int(state.tally[0, N]) - 1
    wave, slope = state.signal[0, lead].astype(float), state.signal[0, LEADS + lead].astype(float)
    newer = sum(wave[(last - j) % RING] for j in range(g.slope))
    older = sum(wave[(last - g.slope - j) % RING] for j in range(g.slope))
    return newer - older, sum(abs(slope[(last - j) % RING]) for j in range(g.area))


def played(signal: Float32, rate_hz: float, parts: list[tuple[int, int]], *, as_gap: bool) -> HeartDetector:
    """`parts` (samples, samples lost after them), the lost ones left out (a gap in time) or sent as NaN."""
    detector, at, gap_ns = HeartDetector(capacity=1), 0, -1
    for size, lost in parts:
        part = signal[None, at : at + size].copy()
        if part.shape[1] == 0:
            break
        missing = np.full((1, lost, signal.shape[1]), np.nan, np.float32)
        samples = part if as_gap or not lost else np.concatenate([part, missing], axis=1)
        detector.step(frame("ecg", [0], [round(at * NS_PER_S / rate_hz)], rate_hz, samples, gap_ns=[gap_ns]))
        at += size + lost
        gap_ns = round(lost * NS_PER_S / rate_hz) if as_gap else 0
    return detector


@settings(deadline=None, max_examples=60)
@given(rate_hz=st.sampled_from(RATES), leads=st.sampled_from([1, 2]), parts=holes, warm=st.booleans())
def test_running_sums_are_those_of_the_rings_after_any_holes(
    rate_hz: float, leads: int, parts: list[tuple[int, float]], warm: bool
) -> None:
    g = grid(rate_hz)
    lost = [(size, int(share * g.bridge * g.decimation)) for size, share in parts]
    first = [(int(8 * rate_hz), 0)] if warm else []
    detector = played(SIGNALS[rate_hz][:, :leads], rate_hz, [*first, *lost], as_gap=True)
    if detector.state.tally[0, DOWN]:
        return
    for lead in range(leads):
        rise, area = from_rings(detector.state, g, lead)
        assert abs(detector.state.level[0, SLOPE_0 + lead] - rise) < 1e-4
        assert abs(detector.state.level[0, AREA_0 + lead] - area) < 1e-4


@settings(deadline=None, max_examples=60)
@given(rate_hz=st.sampled_from(RATES), leads=st.sampled_from([1, 2]), parts=holes)
def test_a_bridged_hole_is_a_run_of_missing_samples(rate_hz: float, leads: int, parts: list[tuple[int, float]]) -> None:
    g = grid(rate_hz)
    lost = [(int(6 * rate_hz), 3), *((size, int(share * g.bridge * g.decimation)) for size, share in parts), (40, 0)]
    signal = SIGNALS[rate_hz][:, :leads]
    gaps, nans = played(signal, rate_hz, lost, as_gap=True).state, played(signal, rate_hz, lost, as_gap=False).state
    # what follows from a beat that may be hidden in a gap (rates, patterns) differs on purpose; filters, peaks and beats may not
    np.testing.assert_array_equal(gaps.tally[:, COUNTS], nans.tally[:, COUNTS])
    np.testing.assert_array_equal(gaps.level[:, LEVELS], nans.level[:, LEVELS])
    np.testing.assert_array_equal(gaps.signal, nans.signal)
    np.testing.assert_array_equal(gaps.beats[:, 0], nans.beats[:, 0])
