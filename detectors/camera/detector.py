"""A camera with its own analysis saw somebody fall."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from detectors.camera.events import EVENTS, FALL
from detectors.camera.kernel import NEVER, CameraState, falls
from detectors.camera.params import CameraParams
from engine.detector import NOTHING, Detector, Spec, StepResult
from engine.events import Detection
from engine.frame import NS_PER_S, Frame
from engine.watch import Hazard, Signal


class CameraDetector(Detector[CameraParams, CameraState]):
    """Decides which reports of a camera's own fall analysis are an alarm; only staff end it.

    Takes "camera_event" (k, n, 2): code (CAMERA_FALL, others are ignored) and confidence 0..1; no picture ever reaches
    Vigil. Reports that follow each other within same_fall_s are one fall, so a person who stays on the floor raises one
    alarm; a late report is its own fall when it is further from the last one than that. Chunks the camera flagged as
    poor are not used. Latency: none beyond the camera's. Score: the camera's confidence.

    >>> from engine.frame import frame
    >>> from engine.kinds import CAMERA_FALL
    >>> def reports(second: int, confidence: float) -> list[str]:
    ...     samples = np.array([[[CAMERA_FALL, confidence]]], np.float32)
    ...     return [found.code for found in camera.step(frame("camera_event", 0, second * NS_PER_S, 0.0, samples)).detections]
    >>> camera = CameraDetector()
    >>> reports(0, 0.2), reports(10, 0.95)  # a doubtful one is none
    ([], ['camera.fall'])
    >>> reports(15, 0.9)  # still the same one
    []
    """

    spec: ClassVar[Spec] = Spec(
        name="camera",
        state_version=2,
        kinds=("camera_event",),
        events=EVENTS,
        latency_bound_s=0.0,
        warmup_s=0.0,
        references=("none: the analysis is the camera's",),
        watches={"camera_event": (Signal(Hazard.FALL, "picture"),)},
    )
    params_type: ClassVar[type[CameraParams]] = CameraParams

    def initial_state(self, capacity: int) -> CameraState:
        """No report yet."""
        never = np.full(capacity, NEVER, np.int64)
        return CameraState(never, never.copy())

    def step(self, frame: Frame) -> StepResult:
        """Take one frame of camera reports."""
        same_fall_ns = int(self.params.same_fall_s * NS_PER_S)
        least, arrival_ns = self.params.confidence_fraction_min, frame.arrival_ns
        found, confidence = falls(frame.slot, frame.t0_ns, frame.samples, frame.valid, arrival_ns, self.state, least, same_fall_ns)
        if not found.shape[0]:
            return NOTHING
        pairs = zip(found.tolist(), confidence.tolist(), strict=True)
        return StepResult([Detection(slot, FALL, t_ns, t_ns, score) for (slot, t_ns), score in pairs], [])
