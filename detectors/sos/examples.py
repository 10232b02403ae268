"""A call, and a button that nobody pressed."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.frame import GAP_RESTART, NS_PER_S, Frame, frame

START_NS: Final = 1_700_000_000 * NS_PER_S
ONSET_NS: Final = START_NS + 30 * NS_PER_S
EXPECTED: Final = ("sos.pressed",)


def _report(t_ns: int, pressed: float, gap: int = 0) -> Frame:
    return frame("button", 0, t_ns, 0.0, np.full((1, 1, 1), pressed, np.float32), gap_ns=[gap])


def positive() -> list[Frame]:
    """A heartbeat of a released button, then a press that bounces and is held for ten seconds."""
    bounce_ns = 20_000_000
    frames = [_report(START_NS, 0.0, GAP_RESTART)]
    frames += [_report(ONSET_NS, 1.0), _report(ONSET_NS + bounce_ns, 0.0), _report(ONSET_NS + 2 * bounce_ns, 1.0)]
    frames += [_report(ONSET_NS + second * NS_PER_S, 1.0) for second in range(1, 10)]
    return [*frames, _report(ONSET_NS + 10 * NS_PER_S, 0.0)]


def negative() -> list[Frame]:
    """Ten heartbeats of a released button, one of them unreadable."""
    beats = [_report(START_NS + minute * 60 * NS_PER_S, 0.0, GAP_RESTART if minute == 0 else 0) for minute in range(10)]
    return [*beats, _report(START_NS + 600 * NS_PER_S, float("nan"))]
