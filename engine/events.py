"""What the core says: detections by slot, events by subject."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Literal, NamedTuple

import msgspec

Phase = Literal["onset", "clear"]


class Priority(IntEnum):
    """Alarm priority by harm and by the time in which it comes (IEC 60601-1-8:2006+A2:2020, table 1)."""

    INFORMATION = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class EventType(NamedTuple):
    """A condition that a detector can report.

    `code` is "<detector>.<condition>", stable for ever: policies, translations and statistics hang on it.
    `clears` says whether the detector itself reports the end (phase "clear"); if not, only staff end the alert.
    `life_safety` alerts are never rate-limited, shed, or silenced by a model.
    """

    code: str
    priority: Priority
    clears: bool
    life_safety: bool
    description: str


class Detection(NamedTuple):
    """A detector's finding at one slot; the engine turns it into an Event.

    onset_ns is the device time at which the condition began, decided_ns the device time of the sample (or the tick)
    that settled it; both depend only on the data, never on how it was cut into chunks. `score` is 0..1. A "clear"
    carries the onset_ns of the onset it ends.
    """

    slot: int
    code: str
    onset_ns: int
    decided_ns: int
    score: float = 1.0
    phase: Phase = "onset"
    values: dict[str, float] = {}  # noqa: RUF012 - never mutated; a NamedTuple default is shared by design


class Event(msgspec.Struct, frozen=True):
    """A fact about a subject, in the order in which the engine found it.

    `id` is a function of (detector, code, subject, onset, phase): the same data gives the same id wherever and how
    often it is processed. `subject` is a pseudonym such as "resident/r-017" or "room/2-101". arrival_ns is when the
    deciding data reached Vigil.
    """

    id: str
    detector: str
    code: str
    subject: str
    phase: Phase
    priority: int
    onset_ns: int
    decided_ns: int
    arrival_ns: int
    score: float
    values: dict[str, float]
    device: str = ""
    """The device itself where the event is about it (device.silent), else empty."""


def event_id(detector: str, code: str, subject: str, onset_ns: int, phase: str, device: str = "") -> str:
    """32 hex digits, deterministic."""
    text = f"{detector}\x1f{code}\x1f{subject}\x1f{onset_ns}\x1f{phase}\x1f{device}".encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()
