"""The fire detector on arbitrary data: any cut, and Python, give what the compiled kernel gives on the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fire import detector as wiring
from detectors.fire.detector import FireDetector
from detectors.fire.kernel import electrical, room_air
from engine.detector import StepResult
from engine.events import Detection
from engine.frame import GAP_RESTART, NS_PER_S, Float32, Frame, frame

START_NS = 1_700_000_000 * NS_PER_S
READINGS = (
    st.sampled_from([float("nan"), 0.0, 0.004, 0.03, -1.0, 50.0]),
    st.sampled_from([float("nan"), 0.0, 40.0, 600.0, -500.0, 200_000.0]),
    st.sampled_from([float("nan"), 22.0, 30.0, 48.0, 90.0, -60.0, 1500.0]),
    st.sampled_from([float("nan"), 50.0]),
)
SPANS = st.lists(st.tuples(st.integers(1, 90), st.tuples(*READINGS)), min_size=1, max_size=8)


def rows_of(spans: list[tuple[int, tuple[float, float, float, float]]]) -> Float32:
    """Steady spans, a row a second."""
    return np.concatenate([np.tile(np.array(reading, np.float32), (seconds, 1)) for seconds, reading in spans])


def frames_of(rows: Float32, cuts: list[int]) -> list[Frame]:
    """Rows cut into chunks of the given lengths, in turn; no single row is left over, whose interval would be a guess (`until_next_s`)."""
    frames, start = [], 0
    while start < rows.shape[0]:
        size = cuts[len(frames) % len(cuts)]
        size += rows.shape[0] - start - size == 1
        gap = GAP_RESTART if start == 0 else 0
        frames.append(frame("room_air", 0, START_NS + start * NS_PER_S, 1.0, rows[None, start : start + size], gap_ns=[gap]))
        start += size
    return frames


def told(results: list[StepResult]) -> tuple[list[Detection], list[tuple[int, list[float]]]]:
    """Detections and feature rows."""
    rows = [(int(f.t0_ns[0]), np.nan_to_num(f.samples[0, 0], nan=-99.0).tolist()) for result in results for f in result.features]
    return [d for result in results for d in result.detections], rows


@settings(max_examples=60, deadline=None)
@given(SPANS, st.lists(st.integers(2, 120), min_size=1, max_size=4))
def test_cuts_do_not_matter_and_state_stays_finite(spans: list[tuple[int, tuple[float, float, float, float]]], cuts: list[int]) -> None:
    rows = rows_of(spans)
    whole, cut = FireDetector(capacity=1), FireDetector(capacity=1)
    assert told([whole.step(f) for f in frames_of(rows, [rows.shape[0]])]) == told([cut.step(f) for f in frames_of(rows, cuts)])
    for one, other in zip(whole.state, cut.state, strict=True):
        assert np.isfinite(one).all()
        assert np.array_equal(one, other)


@settings(max_examples=15, deadline=None)
@given(SPANS)
def test_compiled_equals_python(spans: list[tuple[int, tuple[float, float, float, float]]]) -> None:
    rows = rows_of(spans)
    compiled, plain = FireDetector(capacity=1), FireDetector(capacity=1)
    expected = told([compiled.step(f) for f in frames_of(rows, [60])])
    wiring.room_air, wiring.electrical = room_air.py_func, electrical.py_func  # type: ignore[attr-defined]
    try:
        found = told([plain.step(f) for f in frames_of(rows, [60])])
    finally:
        wiring.room_air, wiring.electrical = room_air, electrical
    assert [(d.code, d.phase, d.onset_ns, d.decided_ns) for d in found[0]] == [
        (d.code, d.phase, d.onset_ns, d.decided_ns) for d in expected[0]
    ]
    for one, other in zip(compiled.state, plain.state, strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-9)
