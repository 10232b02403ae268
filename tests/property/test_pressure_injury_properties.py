"""What must hold for any map and any way of sending it."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.pressure_injury import kernel, posture
from detectors.pressure_injury import state as turn_state
from detectors.pressure_injury.detector import PressureInjuryDetector
from detectors.pressure_injury.examples import SHAPE, START_NS, maps
from detectors.pressure_injury.posture import LEFT, RIGHT, SUPINE
from engine.detector import StepResult
from engine.frame import NS_PER_S, Frame, frame

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)
sides = st.sampled_from([SUPINE, RIGHT, LEFT])
MIRROR = {SUPINE: SUPINE, RIGHT: LEFT, LEFT: RIGHT}


def look(cells: np.ndarray, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray, int]:
    summary, features = np.zeros(posture.SUMMARY), np.zeros(posture.FEATURES)
    checksum = posture.describe(cells.reshape(-1), *shape, posture.scratch(*shape), summary, features)
    return summary, features, checksum


def night(rng: np.random.Generator) -> np.ndarray:
    """Five to six hours of maps, one a minute, with turns, exits and useless maps."""
    parts = []
    while sum(map(len, parts)) < 300:
        side = [SUPINE, RIGHT, LEFT, None][rng.integers(4)]
        parts.append(maps(side, int(rng.integers(1, 160)), rng))
    cells = np.concatenate(parts)
    cells[rng.random(len(cells)) < 0.1] = 65535
    return cells


def told(result: StepResult) -> list[tuple[object, ...]]:
    rows = [(f.kind, int(s), int(t), v.tobytes()) for f in result.features for s, t, v in zip(f.slot, f.t0_ns, f.samples, strict=True)]
    return [(*tuple(d[:5]), d.phase) for d in result.detections] + rows


def chunks(cells: np.ndarray, cuts: list[int], slot: int = 0) -> list[Frame]:
    edges = [0, *sorted({c % len(cells) for c in cuts} - {0}), len(cells)]
    return [frame("pressure_map", slot, START_NS + a * 60 * NS_PER_S, 1 / 60, cells[None, a:b], shape=SHAPE) for a, b in pairwise(edges)]


@few
@given(seeds, st.lists(st.integers(1, 400), max_size=12))
def test_chunking_changes_nothing(seed: int, cuts: list[int]) -> None:
    cells = night(np.random.default_rng(seed))
    answers = []
    for way in ([], cuts, list(range(len(cells)))):
        detector = PressureInjuryDetector()
        answers.append(sorted(row for one in chunks(cells, way) for row in map(repr, told(detector.step(one)))))
    assert answers[0] == answers[1] == answers[2]


@few
@given(seeds)
def test_slots_do_not_touch_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = night(rng), night(rng)
    size = min(len(one), len(other))
    alone, together = PressureInjuryDetector(), PressureInjuryDetector()
    for i in range(size):
        t_ns = START_NS + i * 60 * NS_PER_S
        single = alone.step(frame("pressure_map", 5, t_ns, 1 / 60, one[None, i : i + 1], shape=SHAPE))
        both = together.step(frame("pressure_map", [9, 5], [t_ns, t_ns], 1 / 60, np.stack([other[i : i + 1], one[i : i + 1]]), shape=SHAPE))
        assert told(single) == [row for row in told(both) if 5 in row[:2]]


@few
@given(seeds, sides, st.integers(1, 12), st.integers(0, 1000))
def test_gain_and_offset_do_not_matter(seed: int, side: int, gain: int, offset: int) -> None:
    cells = maps(side, 1, np.random.default_rng(seed))[0]
    changed = (cells.astype(np.int64) * gain + offset).astype(np.uint16)
    summary, features, _ = look(cells)
    summary_changed, features_changed, _ = look(changed)
    np.testing.assert_allclose(features_changed, features, atol=1e-4)
    assert summary_changed[posture.CONTACT] == pytest.approx(summary[posture.CONTACT], abs=2e-3)
    assert posture.classify(features_changed)[0] == posture.classify(features)[0] == side


@few
@given(seeds, sides)
def test_the_mirror_swaps_right_and_left(seed: int, side: int) -> None:
    cells = maps(side, 1, np.random.default_rng(seed))[0]
    mirrored = np.ascontiguousarray(cells.reshape(SHAPE)[:, ::-1])
    seen, confidence = posture.classify(look(cells)[1])
    seen_mirrored, confidence_mirrored = posture.classify(look(mirrored)[1])
    assert seen_mirrored == MIRROR[seen]
    assert confidence_mirrored == pytest.approx(confidence, rel=1e-4)


@few
@given(seeds, sides, st.tuples(st.integers(24, 80), st.integers(12, 48)))
def test_the_size_of_the_mattress_does_not_matter(seed: int, side: int, shape: tuple[int, int]) -> None:
    cells = maps(side, 1, np.random.default_rng(seed), shape=shape)[0]
    assert posture.classify(look(cells, shape)[1])[0] == side


@few
@given(seeds, st.tuples(st.integers(1, 20), st.integers(1, 20)), st.floats(0, 1), st.integers(0, 65535))
def test_any_map_gives_finite_numbers_and_equals_plain_python(seed: int, shape: tuple[int, int], missing: float, top: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, top + 1, shape[0] * shape[1]).astype(np.uint16)
    cells[rng.random(cells.size) < missing] = 65535
    summary, features, checksum = look(cells, shape)
    assert np.isfinite(summary).all()
    assert np.isfinite(features).all()
    slow_summary, slow_features = np.zeros(posture.SUMMARY), np.zeros(posture.FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        slow_checksum = posture.describe.py_func(cells, *shape, posture.scratch(*shape), slow_summary, slow_features)  # type: ignore[attr-defined]
    assert slow_checksum == checksum
    np.testing.assert_allclose(slow_summary, summary, rtol=2e-3, atol=2e-3)


@few
@given(seeds, sides)
def test_features_equal_plain_python(seed: int, side: int) -> None:
    shape = (24, 12)
    cells = maps(side, 1, np.random.default_rng(seed), shape=shape)[0]
    _, features, _ = look(cells, shape)
    slow = np.zeros(posture.FEATURES)
    work = posture.scratch(*shape)
    posture.describe.py_func(cells, *shape, work, np.zeros(posture.SUMMARY), np.zeros(posture.FEATURES))  # type: ignore[attr-defined]
    posture._shape.py_func(*shape, work, float(work.row_sum.sum()), slow)  # type: ignore[attr-defined]
    np.testing.assert_allclose(slow, features, rtol=1e-3, atol=1e-4)
    fast = posture.classify(features)
    again = posture.classify.py_func(features)  # type: ignore[attr-defined]
    assert fast[0] == again[0]
    assert fast[1] == pytest.approx(again[1])


@few
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 4]), st.integers(1, 120), st.integers(1, 900)), min_size=1, max_size=20))
def test_the_clock_equals_plain_python(spells: list[tuple[int, int, int]]) -> None:
    fast, slow = turn_state.initial(1), turn_state.initial(1)
    limits = PressureInjuryDetector().params.limits()
    out_fast, out_slow = np.zeros((2, turn_state.FINDING), np.int64), np.zeros((2, turn_state.FINDING), np.int64)
    t_ns = START_NS
    for seen, count, step_s in spells:
        for _ in range(count):
            t_ns += step_s * NS_PER_S
            args = (0, t_ns, seen, 7200 * NS_PER_S, limits)
            assert kernel.observe(fast, *args, out_fast, 0) == kernel.observe.py_func(slow, *args, out_slow, 0)  # type: ignore[attr-defined]
            assert (out_fast == out_slow).all()
    for name, column in fast._asdict().items():
        np.testing.assert_allclose(column, getattr(slow, name), rtol=1e-9, err_msg=name)


@few
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 4]), st.integers(1, 200)), min_size=1, max_size=20))
def test_onset_and_clear_alternate_and_name_the_same_onset(spells: list[tuple[int, int]]) -> None:
    state, limits, out = turn_state.initial(1), PressureInjuryDetector().params.limits(), np.zeros((2, turn_state.FINDING), np.int64)
    t_ns, open_ns = START_NS, None
    for seen, count in spells:
        for _ in range(count):
            t_ns += 60 * NS_PER_S
            for row in out[: kernel.observe(state, 0, t_ns, seen, 7200 * NS_PER_S, limits, out, 0)]:
                assert row[turn_state.F_ONSET] <= row[turn_state.F_DECIDED] == t_ns
                if row[turn_state.F_CLEAR]:
                    assert row[turn_state.F_ONSET] == open_ns
                    open_ns = None
                else:
                    assert open_ns is None
                    open_ns = row[turn_state.F_ONSET]
