"""Frames and ticks to the detectors, their findings to events. A detector that fails stops nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.detector import Detector, StepResult
from engine.events import Detection, Event, EventType, event_id
from engine.frame import Frame
from engine.kinds import KINDS, STORED_KINDS
from engine.ledger import device_unbound
from engine.outputs import Outputs, Reason, Reject
from engine.registry import CareSetting, Registry
from engine.rows import measured
from engine.slots import Slots
from engine.watch import CARE, check_care

_NO_VALUES: Final[Mapping[str, float]] = {}


class Dispatcher:
    """The detectors of an engine and what they need to know: whose a slot is, and each resident's own parameters."""

    def __init__(self, detectors: Sequence[Detector[Any, Any]], slots: Slots, registry: Registry) -> None:
        self.detectors = tuple(detectors)
        names = [d.spec.name for d in self.detectors]
        if len(set(names)) != len(names):
            raise ValueError(f"detector names must differ, got {names}")
        self.registry = registry
        self._slots = slots
        self._by_kind: dict[str, list[Detector[Any, Any]]] = {}
        self._columns: dict[str, tuple[str, ...]] = {kind: tuple(c.name for c in KINDS[kind].channels) for kind in STORED_KINDS}
        self._types: dict[str, EventType] = {}
        for detector in self.detectors:
            for kind in detector.spec.kinds:
                self._by_kind.setdefault(kind, []).append(detector)
            self._columns.update(detector.spec.features)
            self._types.update({event.code: event for event in detector.spec.events})

    def frame(
        self, frame: Frame, subjects: tuple[str, ...], arrival_ns: int, out: Outputs, values: Mapping[str, float] = _NO_VALUES
    ) -> None:
        """Give `frame` to every detector that wants its kind; the features that arise go the same way. `values` are added to its events."""
        if frame.kind in self._columns:
            out.measurements.append(measured(frame, subjects, self._columns[frame.kind]))
        for detector in self._by_kind.get(frame.kind, ()):
            try:
                result = detector.step(frame)
            except Exception as error:  # noqa: BLE001 - whatever a detector throws, the others must go on; the bytes are kept
                self._failed(detector, frame, error, out)
                continue
            self._collect(detector, result, arrival_ns, out, values)

    def tick(self, now_ns: int, out: Outputs) -> None:
        """Tell every detector that time passed."""
        for detector in self.detectors:
            try:
                result = detector.tick(now_ns)
            except Exception as error:  # noqa: BLE001 - as in `frame`
                detail = f"detector {detector.spec.name} failed on a tick: {type(error).__name__}: {error}"
                out.rejects.append(Reject(Reason.INTERNAL, detail, "", "tick", 0, b""))
                continue
            if result.detections or result.features:
                self._collect(detector, result, now_ns, out)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots in every detector."""
        for detector in self.detectors:
            detector.grow(capacity)

    def forget(self, slots: NDArray[np.int32]) -> None:
        """The subjects of `slots` have left the house."""
        for detector in self.detectors:
            detector.forget(slots)

    def unbind(self, subject: str, device: str, kind: str, now_ns: int, out: Outputs) -> None:
        """`device` no longer measures `kind` of `subject`: said to the book, and what was raised by it is to be raised anew by another."""
        out.events.append(device_unbound(subject, device, kind, now_ns))
        slots = np.array(self._slots.of(subject), np.int32)
        for detector in self._by_kind.get(kind, ()):
            detector.device_gone(slots, kind)

    def check_care(self, settings: Sequence[CareSetting]) -> None:
        """ValueError when a care setting names an unknown detector or field, or breaks a bound."""
        by_name = {d.spec.name: d for d in self.detectors}
        for setting in settings:
            if setting.detector == CARE:
                check_care(setting.field, setting.value)
                continue
            target = by_name.get(setting.detector)
            if target is None:
                raise ValueError(f"care setting for unknown detector {setting.detector!r}; there are {sorted(by_name)}")
            target.check_override(setting.field, setting.value)

    def apply_care(self, slot: int, subject: str) -> None:
        """Give the slot its resident's own parameters; those without one get the default again."""
        own = {(c.detector, c.field): c.value for c in self.registry.care.get(subject, ())}
        for detector in self.detectors:
            for field in detector.spec.overridable:
                detector.override(slot, field, own.get((detector.spec.name, field)))

    def apply_all_care(self) -> None:
        """The same for every slot that is somebody's."""
        for slot, subject in enumerate(self._slots.subjects):
            if subject:
                self.apply_care(slot, subject)

    def _failed(self, detector: Detector[Any, Any], frame: Frame, error: Exception, out: Outputs) -> None:
        detail = f"detector {detector.spec.name} failed on this frame and starts afresh for its residents: {type(error).__name__}: {error}"
        detector.forget(frame.slot)
        for i, slot in enumerate(frame.slot):
            self.apply_care(int(slot), self._slots.subjects[slot])
            out.rejects.append(Reject(Reason.INTERNAL, detail, self._slots.subjects[slot], frame.kind, 0, frame.samples[i].tobytes()))

    def _collect(
        self, detector: Detector[Any, Any], result: StepResult, arrival_ns: int, out: Outputs, values: Mapping[str, float] = _NO_VALUES
    ) -> None:
        for found in result.detections:
            out.events.append(self._event(detector.spec.name, found, arrival_ns, values))
        for feature in result.features:
            self.frame(feature, tuple(self._slots.subjects[slot] for slot in feature.slot), arrival_ns, out)

    def _event(self, name: str, found: Detection, arrival_ns: int, more: Mapping[str, float]) -> Event:
        subject = self._slots.subjects[found.slot]
        onset, decided = int(found.onset_ns), int(found.decided_ns)
        identity = event_id(name, found.code, subject, onset, found.phase)
        priority = int(self._types[found.code].priority)
        values = {key: float(value) for key, value in {**found.values, **more}.items()}
        return Event(identity, name, found.code, subject, found.phase, priority, onset, decided, arrival_ns, float(found.score), values)
