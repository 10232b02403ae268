"""What is one call, and what is the next."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.sos.detector import SosDetector
from engine.frame import NS_PER_S, frame

START_NS = 1_700_000_000 * NS_PER_S


def calls(*reports: tuple[float, float], detector: SosDetector | None = None, valid: bool = True) -> list[float]:
    """Seconds of the calls in reports (second, pressed)."""
    detector = detector or SosDetector(capacity=1)
    found = []
    for second, pressed in reports:
        t0_ns = START_NS + round(second * NS_PER_S)
        sample = np.array([[[pressed]]], np.float32)
        found += detector.step(frame("button", 0, t0_ns, 0.0, sample, valid=[valid])).detections
    assert all((d.code, d.phase, d.onset_ns) == ("sos.pressed", "onset", d.decided_ns) for d in found)
    return [(d.onset_ns - START_NS) / NS_PER_S for d in found]


def test_a_press_calls_at_once() -> None:
    assert calls((0, 0), (10, 1)) == [10]


def test_the_first_thing_ever_heard_may_be_a_press() -> None:
    assert calls((10, 1)) == [10]


def test_bouncing_contact_is_one_call() -> None:
    assert calls((10, 1), (10.01, 0), (10.02, 1), (10.05, 0), (10.06, 1)) == [10]


def test_held_or_stuck_button_is_one_call() -> None:
    assert calls(*((second, 1) for second in range(0, 7200, 5))) == [0]


def test_release_and_press_again_is_a_new_call() -> None:
    assert calls((10, 1), (11, 0), (14, 1), (15, 0), (20, 1)) == [10, 20]


def test_a_lost_release_does_not_swallow_the_next_call() -> None:
    assert calls((0, 0), (10, 1), (80, 1)) == [10, 80]


def test_a_late_press_calls_once() -> None:
    assert calls((100, 1), (101, 0), (40, 1), (41, 1), (42, 1)) == [100, 40]


def test_a_late_press_near_a_known_call_is_that_call() -> None:
    assert calls((100, 1), (98, 1)) == [100]


def test_a_late_release_frees_nothing() -> None:
    assert calls((100, 1), (90, 0), (106, 1)) == [100]


def test_a_press_calls_even_when_the_device_is_in_doubt() -> None:
    assert calls((10, 1), valid=False) == [10]


def test_nothing_is_no_press() -> None:
    assert calls((10, float("nan")), (20, 0)) == []


def test_buttons_do_not_share_their_state() -> None:
    detector = SosDetector(capacity=2)
    both = frame("button", [0, 1], [START_NS, START_NS], 0.0, np.array([[[1.0]], [[0.0]]], np.float32))
    assert [d.slot for d in detector.step(both).detections] == [0]
    later = frame("button", [1], [START_NS + NS_PER_S], 0.0, np.ones((1, 1, 1), np.float32))
    assert [d.slot for d in detector.step(later).detections] == [1]


@pytest.mark.parametrize("rearm_s", [1.0, 30.0])
def test_rearm_time_is_a_parameter(rearm_s: float) -> None:
    detector = SosDetector(SosDetector.params_type(rearm_s=rearm_s), capacity=1)
    assert calls((0, 1), (1, 0), (10, 1), detector=detector) == ([0, 10] if rearm_s < 10 else [0])
