"""The contract every detector and every model fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.events import Detection, EventType
from engine.frame import Float64, Frame, Int32
from engine.state import grown, pack, unpack
from engine.watch import Signal


class Params(BaseModel):
    """Base of detector parameters: frozen, no unknown fields, every field with unit (last in the name), bounds, text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Spec(NamedTuple):
    """What a detector is.

    `kinds`: the frames it wants, raw kinds or feature kinds ("feature.<name>"). `latency_bound_s`: the longest device
    time from onset to decision on a textbook case. `warmup_s`: data it needs before it can decide. `overridable`:
    parameter fields (floats) a care plan may set per resident; they reach the kernel as a column.
    `features`: feature kinds it emits, each with its column names (unit last). `references`: sources. `watches`: for each raw kind, the quantities it
    judges and the hazards it watches by them; what is not judged for long is told (engine/watch.py).
    """

    name: str
    state_version: int
    kinds: tuple[str, ...]
    events: tuple[EventType, ...]
    latency_bound_s: float
    warmup_s: float
    references: tuple[str, ...]
    overridable: tuple[str, ...] = ()
    features: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - class constant, never mutated
    watches: dict[str, tuple[Signal, ...]] = {}  # noqa: RUF012


class StepResult(NamedTuple):
    """Findings, and feature frames for the models (kind "feature.<name>", samples float32 (k, 1, f), <= 1 Hz a slot)."""

    detections: list[Detection]
    features: list[Frame]


NOTHING: Final = StepResult([], [])
"""The result of almost every step. Never append to it."""

P = TypeVar("P", bound=Params)
S = TypeVar("S", bound=tuple[Any, ...])


class _Saved(msgspec.Struct, array_like=True):
    name: str
    version: int
    capacity: int
    state: bytes
    columns: dict[str, bytes]
    extra: bytes


class Detector(ABC, Generic[P, S]):
    """One detector over all slots of a partition. Pure: output depends on state, frame and tick alone.

    A subclass sets `spec` and `params_type`, and implements `initial_state` and `step`; `tick` where time alone can
    decide (it is called once a second with a non-decreasing now_ns, whether or not data came). State lives in
    `self.state`, a NamedTuple of arrays with axis 0 = slot, so forget, grow, snapshot and restore come for free.
    """

    spec: ClassVar[Spec]
    params_type: ClassVar[type[Params]]

    def __init__(self, params: P | None = None, capacity: int = 64) -> None:
        self.params: P = params if params is not None else self.params_type()  # type: ignore[assignment]
        self.capacity = capacity
        self.state: S = self.initial_state(capacity)
        self.columns: dict[str, Float64] = {name: np.full(capacity, float(getattr(self.params, name))) for name in self.spec.overridable}

    @abstractmethod
    def initial_state(self, capacity: int) -> S:
        """Fresh state for `capacity` slots; every array has axis 0 = slot."""

    @abstractmethod
    def step(self, frame: Frame) -> StepResult:
        """Process one frame of a kind in `spec.kinds`."""

    def tick(self, now_ns: int) -> StepResult:  # noqa: ARG002 - most detectors decide on data alone
        """Time passed. Default: no findings."""
        return NOTHING

    # -- what the base class gives ------------------------------------------------------------------------------

    def override(self, slot: int, field: str, value: float | None) -> None:
        """Set a per-resident parameter (None: back to the default); ValueError if it breaks the field's bounds."""
        self.columns[field][slot] = self.check_override(field, value)
        self._columns_changed()

    def check_override(self, field: str, value: float | None) -> float:
        """The value `override` would set; ValueError if the field cannot be set per resident or breaks its bounds."""
        if field not in self.columns:
            raise ValueError(f"{self.spec.name}.{field} cannot be set per resident; these can: {sorted(self.columns)}")
        if value is None:
            return float(getattr(self.params, field))
        self.params_type.model_validate({**self.params.model_dump(), field: value})
        return value

    def forget(self, slots: Int32) -> None:
        """Return `slots` to their initial state (a device was unbound, a resident left)."""
        fresh = self.initial_state(1)
        for own, new in zip(self.state, fresh, strict=True):
            own[slots] = new[0]
        for name, column in self.columns.items():
            column[slots] = float(getattr(self.params, name))
        self._columns_changed()
        self._forget_extra(slots)

    def device_gone(self, slots: Int32, kind: str) -> None:
        """A device that measured `kind` at one of `slots` was taken away, and the alerts it raised are stale: staff may close them at any time.
        A detector whose alert may not be missed takes back here what that kind raised, without an event, so that the next device raises it
        anew. What was learned about the resident stays. Default: nothing."""

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots, keeping what is there."""
        if capacity <= self.capacity:
            return
        self.state = grown(self.state, self.initial_state(capacity))
        for name, column in self.columns.items():
            self.columns[name] = np.concatenate([column, np.full(capacity - self.capacity, float(getattr(self.params, name)))])
        self._columns_changed()
        self._grow_extra(capacity)
        self.capacity = capacity

    def snapshot(self) -> bytes:
        """The whole state as bytes."""
        columns = {name: column.tobytes() for name, column in self.columns.items()}
        return msgspec.msgpack.encode(
            _Saved(self.spec.name, self.spec.state_version, self.capacity, pack(self.state), columns, self._pack_extra())
        )

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot; ValueError when it is of another detector or state version."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        if (saved.name, saved.version) != (self.spec.name, self.spec.state_version):
            raise ValueError(
                f"snapshot is of {saved.name} v{saved.version}, this is {self.spec.name} v{self.spec.state_version}: start cold and replay"
            )
        self.state = unpack(self.state, saved.state)
        self.capacity = saved.capacity
        self.columns = {name: np.frombuffer(raw, np.float64).copy() for name, raw in saved.columns.items()}
        self._columns_changed()
        self._unpack_extra(saved.extra)

    def _columns_changed(self) -> None:
        """`columns` have other values now; for detectors that keep something made of them."""

    # -- for models that hold objects beside arrays ---------------------------------------------------------------

    def _forget_extra(self, slots: Int32) -> None:
        """Drop per-slot objects."""

    def _grow_extra(self, capacity: int) -> None:
        """Make room for per-slot objects."""

    def _pack_extra(self) -> bytes:
        """Per-slot objects as bytes."""
        return b""

    def _unpack_extra(self, data: bytes) -> None:
        """Inverse of `_pack_extra`."""
