"""How each kind of event is treated: how long it must hold, what joins it, what ends it. The values of an event are declared beside its
detector (`events.py`); a home changes them in `[policy]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.events import Ends, EventType, Priority

_DAY_S: Final = 86_400.0

CANARY_PREFIX: Final = "resident/vigil-canary-"
"""Subjects that nobody is: simulated wearers by whose falls Vigil watches itself. Their alerts take the whole way, and call nobody."""
CANARY_WARD_PREFIX: Final = "vigil/canary-"
"""The wards they live in, and nobody else."""


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
        description="sensor kinds, or channels (vitals.spo2_percent), whose missing data makes the alert stale; null: any; empty: none, for what happened and stays true (a fall, a call)",
    )

    @model_validator(mode="after")
    def _never_delayed(self) -> Self:
        if self.life_safety and self.pending_s > 0:
            raise ValueError(
                f"pending_s of a life_safety code must be 0, got {self.pending_s}: give the detector a longer confirmation instead"
            )
        return self


def declared_policies(events: Iterable[EventType]) -> dict[str, CodePolicy]:
    """The policy that each of `events` declares, by code. Fit for a home to start from and to change in its own configuration."""
    return {
        event.code: CodePolicy(
            priority=event.priority,
            life_safety=event.life_safety,
            pending_s=event.pending_s,
            regroup_s=event.regroup_s,
            ends=event.ends,
            hold_s=event.hold_s,
            data_kinds=event.data_kinds,
        )
        for event in events
    }


class Policy(BaseModel):
    """Policies by event code, and the bounds of the book.

    A subclass names the defaults in `declared`; which events there are is known to whoever gathers the detectors, not to this package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    declared: ClassVar[Mapping[str, CodePolicy]] = {}

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
            code: {**cls.declared[code].model_dump(), **own} if isinstance(own, dict) and code in cls.declared else own
            for code, own in value.items()
        }
        return {**cls.declared, **given}

    @model_validator(mode="after")
    def _knows_codes(self) -> Self:
        if not self.codes:
            raise ValueError(
                "a policy without codes would take every event for an unknown one: give it codes, or use one with declared defaults"
            )
        return self

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
