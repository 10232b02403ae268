"""A call button is pressed."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from detectors.sos.events import EVENTS, PRESSED
from detectors.sos.kernel import NEVER, Limits, SosState, presses
from detectors.sos.params import SosParams
from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection
from engine.frame import NS_PER_S, Frame
from engine.watch import Hazard, Signal


class SosDetector(Detector[SosParams, SosState]):
    """Decides whether a report of a button is a new call for help; the call is immediate and only staff end it.

    Takes "button" (k, n, 1), pressed 0 or 1, of a resident's pendant or a room's pull cord. A press fires at once, however
    old: a press that was stuck in a gateway is still somebody who called. Also one the device flagged as poor: a weak
    battery does not make a call untrue. One call is: a bouncing contact, presses repeated within rearm_s, and a button held
    or stuck, which reports 1 again within held_s each time (unreleased_s where the button is known to report releases). All
    else is a new call, whatever became of the one before. Apart means by the device's clock or by arrival: a clock that
    stands still swallows no call.

    Latency: none. Warm-up: none. Sources: README.md.

    >>> from engine.frame import frame
    >>> def reports(second: int, pressed: float) -> list[str]:
    ...     return [found.code for found in button.step(frame("button", 0, second * NS_PER_S, 0.0, [[[pressed]]])).detections]
    >>> button = SosDetector()
    >>> reports(0, 0.0), reports(30, 1.0)
    ([], ['sos.pressed'])
    >>> reports(31, 1.0), reports(32, 0.0), reports(33, 1.0)  # held, released, pressed again within rearm_s: the same call
    ([], [], [])
    >>> reports(39, 0.0), reports(40, 1.0)  # another one
    ([], ['sos.pressed'])
    >>> pendant = SosDetector()  # reports no release: each press calls
    >>> [len(pendant.step(frame("button", 0, s * NS_PER_S, 0.0, [[[1.0]]])).detections) for s in (0, 13, 24, 35)]
    [1, 1, 1, 1]
    """

    spec: ClassVar[Spec] = Spec(
        name="sos",
        state_version=2,
        kinds=("button",),
        events=EVENTS,
        latency_bound_s=0.0,
        warmup_s=0.0,
        references=("EN 50134-2, social alarm systems, trigger devices",),
        watches={"button": (Signal(Hazard.CALL, "call"),)},
    )
    params_type: ClassVar[type[SosParams]] = SosParams

    def initial_state(self, capacity: int) -> SosState:
        """Nobody called."""
        never, no = np.full(capacity, NEVER, np.int64), np.zeros(capacity, np.bool_)
        return SosState(never, never.copy(), never.copy(), never.copy(), never.copy(), never.copy(), no, no.copy())

    def step(self, frame: Frame) -> StepResult:
        """Take one frame of button reports."""
        limits = Limits(*(int(s * NS_PER_S) for s in (self.params.rearm_s, self.params.held_s, self.params.unreleased_s)))
        found = presses(frame.slot, frame.t0_ns, frame.gap_ns, frame.samples, frame.arrival_ns, self.state, limits)
        if not found.shape[0]:
            return NOTHING
        return StepResult([Detection(slot, PRESSED, t_ns, t_ns) for slot, t_ns in found.tolist()], [])
