"""What must hold for the fall detector whatever the data look like."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.falls import FallDetector
from detectors.falls.examples import RATE_HZ, START_NS, positive
from detectors.falls.kernel import BIN_FIELDS, RING, FallLimits, judge
from engine.frame import GAP_RESTART, NS_PER_S, Frame, frame

FALL = np.concatenate([f.samples[0] for f in positive()])
LIMITS = FallLimits(25.0, 0.08, 0.25, 15, 10, 1.5, 7, 2 * NS_PER_S, 60 * NS_PER_S)


def chunk(signal: np.ndarray, at: int, size: int, slots: tuple[int, ...] = (0,)) -> Frame:
    samples = np.repeat(signal[np.newaxis, at : at + size], len(slots), axis=0).astype(np.float32)
    start_ns = START_NS + round(at / RATE_HZ * NS_PER_S)
    return frame("accel", slots, [start_ns] * len(slots), RATE_HZ, samples, gap_ns=[0 if at else GAP_RESTART] * len(slots))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_any_chunking_finds_the_same(sizes: list[int]) -> None:
    whole = FallDetector(capacity=1).step(chunk(FALL, 0, len(FALL)))
    cut = FallDetector(capacity=1)
    found, at = [], 0
    for size in [*sizes, len(FALL)]:
        if at >= len(FALL):
            break
        found += cut.step(chunk(FALL, at, size)).detections
        at += size
    assert found == whole.detections
    assert len(found) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 8.0), st.floats(0.0, 0.6))
def test_anything_may_come_before_and_a_fall_is_still_seen(seed: int, noise_g: float, missing: float) -> None:
    rng = np.random.default_rng(seed)
    rubbish = rng.normal(0, noise_g, (500, 3))
    rubbish[rng.random(500) < missing] = np.nan
    detector = FallDetector(capacity=1)
    earlier = detector.step(chunk(np.concatenate([rubbish, FALL]), 0, 500)).detections
    rest = detector.step(chunk(np.concatenate([rubbish, FALL]), 500, len(FALL))).detections
    assert all(np.isfinite(field).all() for field in detector.state)
    assert len(earlier + rest) >= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations([0, 1, 2, 3]))
def test_slots_do_not_hear_each_other(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    wild = rng.normal(0, 2, FALL.shape).astype(np.float32)
    alone = FallDetector(capacity=4).step(chunk(FALL, 0, len(FALL))).detections
    signals = {0: FALL, 1: wild, 2: np.full_like(FALL, np.nan), 3: np.zeros_like(FALL)}
    samples = np.stack([signals[slot] for slot in order])
    together = FallDetector(capacity=4).step(frame("accel", order, [START_NS] * 4, RATE_HZ, samples, gap_ns=[GAP_RESTART] * 4)).detections
    assert [d for d in together if d.slot == 0] == alone


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(40, 5000), st.floats(0.0, 0.3))
def test_compiled_and_plain_kernel_agree(seed: int, last: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    ring = np.zeros((RING, BIN_FIELDS), np.float32)
    turned = rng.normal(size=3)
    ring[:, :3] = np.where(np.arange(RING)[:, np.newaxis] < (last - 14) % RING, [0, 0, 1.0], turned / np.linalg.norm(turned))
    ring[:, 3] = np.square(ring[:, :3]).sum(axis=1) + rng.random(RING) * 0.01
    ring[:, 4] = 1 + rng.random(RING)
    ring[(last - 14) % RING, 4] = 4.0
    ring[:, 5] = rng.random(RING) * 0.05
    ring[rng.random(RING) < missing, 3] = -1.0
    compiled = judge(ring, last, 2.0, 0.16, 60.0, LIMITS)
    plain = judge.py_func(ring, last, 2.0, 0.16, 60.0, LIMITS)
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)
