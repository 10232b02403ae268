"""How each kind of event is treated: how long it must hold, what joins it, what ends it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.events import Priority

_DAY_S: Final = 86_400.0

DEVICE_SILENT: Final = "device.silent"
"""The technical alarm that makes other alerts of its subject stale."""
CANARY_MISSING: Final = "technical.canary_missing"
"""The technical alarm of Vigil about itself: a simulated fall was not reported in time."""
CANARY_PREFIX: Final = "resident/vigil-canary-"
"""Subjects that nobody is: simulated wearers by whose falls Vigil watches itself. Their alerts take the whole way, and call nobody."""
CANARY_WARD_PREFIX: Final = "vigil/canary-"
"""The wards they live in, and nobody else."""


class Ends(StrEnum):
    """What ends an alert. `latched` is IEC 60601-1-8's latching: over only when the condition is gone *and* a person has seen it."""

    STAFF = "staff"
    LATCHED = "latched"
    CLEAR = "clear"


class CodePolicy(BaseModel):
    """How events of one code become alerts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    priority: Priority = Field(description="alarm priority (IEC 60601-1-8, table 1); never below the event's own where life_safety")
    life_safety: bool = Field(
        default=False, description="called at once and called again at every repeat; cannot be delayed or closed as true while present"
    )
    pending_s: float = Field(default=0.0, ge=0.0, le=3600.0, description="seconds the condition must hold before anybody is called")
    regroup_s: float = Field(
        default=600.0, ge=0.0, le=_DAY_S, description="seconds after the last onset within which another one joins the alert"
    )
    ends: Ends = Field(default=Ends.CLEAR, description="what ends the alert: staff, the detector's clear, or both (latched)")
    hold_s: float = Field(default=60.0, ge=0.0, le=3600.0, description="seconds a cleared condition must stay away; damps flapping")
    data_kinds: frozenset[str] | None = Field(
        default=None,
        description="sensor kinds whose silence makes the alert stale; null: any; empty: none, for what happened and stays true (a fall, a call)",
    )

    @model_validator(mode="after")
    def _never_delayed(self) -> Self:
        if self.life_safety and self.pending_s > 0:
            raise ValueError(
                f"pending_s of a life_safety code must be 0, got {self.pending_s}: give the detector a longer confirmation instead"
            )
        return self


class Policy(BaseModel):
    """Policies by event code, and the bounds of the book."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: dict[str, CodePolicy] = Field(
        default_factory=dict, validate_default=True, description="policy per event code; codes left out keep their default"
    )
    unknown: CodePolicy = Field(
        default_factory=lambda: CodePolicy(priority=Priority.MEDIUM, ends=Ends.STAFF), description="policy of a code that is not listed"
    )
    open_per_condition_max: int = Field(
        default=4, ge=1, le=100, description="open alerts of one code at one subject; at the bound further onsets join the newest"
    )
    closed_max: int = Field(default=1000, ge=0, le=100_000, description="resolved alerts kept in memory; older ones are in the sinks")
    history_max: int = Field(
        default=200, ge=10, le=10_000, description="transitions kept in an alert; at the bound old repeats are left out"
    )
    active_max: int = Field(
        default=16, ge=1, le=1000, description="onsets of one alert whose end is awaited; beyond it only staff end the alert"
    )
    event_ids_max: int = Field(default=64, ge=1, le=10_000, description="newest event ids kept in an alert")
    seen_max: int = Field(default=8192, ge=1, le=1_000_000, description="event and command ids remembered against repeats")
    note_max: int = Field(default=2000, ge=0, le=100_000, description="characters of a staff note")

    @field_validator("codes", mode="before")
    @classmethod
    def _over_the_defaults(cls, value: Any) -> Any:
        """What is set for a code lies over that code's default: a changed priority must not cost a fall its life_safety."""
        if not isinstance(value, dict):
            return value
        given = {
            code: {**DEFAULT_CODES[code].model_dump(), **own} if isinstance(own, dict) and code in DEFAULT_CODES else own
            for code, own in value.items()
        }
        return {**DEFAULT_CODES, **given}

    def of(self, code: str) -> CodePolicy:
        """The policy of `code`, or the one for unknown codes."""
        return self.codes.get(code, self.unknown)

    def at(self, code: str, subject: str) -> CodePolicy:
        """The policy of `code` at `subject`: at a canary, information and nobody's life."""
        rules = self.of(code)
        return rules.model_copy(update=_AT_CANARY) if is_canary(subject) else rules


def is_canary(subject: str) -> bool:
    """Whether `subject` is a simulated wearer, whom no alert is to call anybody for."""
    return subject.startswith(CANARY_PREFIX)


_AT_CANARY: Final[dict[str, Any]] = {"priority": Priority.INFORMATION, "life_safety": False}
_NO_DATA: Final[frozenset[str]] = frozenset()
_HEART: Final = frozenset({"ecg", "ppg", "rr_interval", "vitals"})
_BREATH: Final = frozenset({"vitals"})
_BED: Final = frozenset({"pressure_map", "bed"})
_AIR: Final = frozenset({"room_air"})
_POWER: Final = frozenset({"electrical"})

_FELL: Final = CodePolicy(
    priority=Priority.HIGH, life_safety=True, ends=Ends.STAFF, regroup_s=300.0, hold_s=0.0, data_kinds=_NO_DATA
)  # a fall does not un-happen; two within five minutes are one visit to the bedside
_ARREST: Final = CodePolicy(
    priority=Priority.HIGH, life_safety=True, ends=Ends.LATCHED, regroup_s=600.0, hold_s=30.0, data_kinds=_HEART
)  # IEC 60601-1-8 latching: a self-terminating arrhythmia must still be seen by a person
_FIRE: Final = CodePolicy(
    priority=Priority.HIGH, life_safety=True, ends=Ends.LATCHED, regroup_s=1800.0, hold_s=120.0, data_kinds=_AIR
)  # EN 54-2, GB 4717: a fire alarm condition stays until it is reset by hand
_VITAL: Final = CodePolicy(priority=Priority.HIGH, life_safety=True, ends=Ends.LATCHED, regroup_s=900.0, hold_s=60.0, data_kinds=_HEART)
_BREATHING: Final = _VITAL.model_copy(update={"data_kinds": _BREATH})
_WATCH: Final = CodePolicy(priority=Priority.MEDIUM, pending_s=30.0, regroup_s=3600.0, hold_s=300.0, data_kinds=_HEART)
_WIRING: Final = CodePolicy(priority=Priority.MEDIUM, pending_s=10.0, regroup_s=3600.0, hold_s=300.0, data_kinds=_POWER)
_TREND: Final = CodePolicy(priority=Priority.LOW, pending_s=120.0, regroup_s=4 * 3600.0, hold_s=900.0, data_kinds=_HEART)
_CARE: Final = CodePolicy(priority=Priority.MEDIUM, regroup_s=3600.0, hold_s=60.0, data_kinds=_BED)

DEFAULT_CODES: Final[dict[str, CodePolicy]] = {
    "falls.fall": _FELL,
    "camera.fall": _FELL,
    "sos.pressed": _FELL,
    "heart.asystole": _ARREST,
    "heart.ventricular_tachycardia": _ARREST,
    "heart.ventricular_fibrillation": _ARREST,
    "heart.bradycardia": _VITAL,
    "heart.tachycardia": _VITAL,
    "heart.spo2_low": _BREATHING,
    "heart.respiration_low": _BREATHING,
    "heart.respiration_high": _WATCH.model_copy(update={"data_kinds": _BREATH}),
    "heart.atrial_fibrillation": _WATCH,
    "heart_baseline.deviation": _TREND,
    "pressure_injury.turn_overdue": _CARE,
    "pressure_injury.moisture": _CARE,
    "fire.smoke": _FIRE,
    "fire.heat": _FIRE,
    "fire.rate_of_rise": _FIRE,
    "fire.co": _FIRE,
    "fire.prewarning": CodePolicy(priority=Priority.MEDIUM, regroup_s=1800.0, hold_s=120.0, data_kinds=_AIR),
    "fire.residual_current": _WIRING,
    "fire.cable_heat": _WIRING,
    DEVICE_SILENT: CodePolicy(priority=Priority.LOW, regroup_s=3600.0, hold_s=0.0, data_kinds=_NO_DATA),
    # Latched: that Vigil was blind must be seen by a person even when it sees again. Partitions that go blind one after the other are one
    # call; one that follows after two minutes calls again.
    CANARY_MISSING: CodePolicy(priority=Priority.HIGH, ends=Ends.LATCHED, regroup_s=120.0, hold_s=0.0, data_kinds=_NO_DATA),
}
"""The policy of every code in docs/contracts.md. Fit for a home to start from and to change in its own configuration."""
