"""What the core reports: detections by slot, events by subject; and how a kind of event is declared."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass
from enum import IntEnum, StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

Phase = Literal["onset", "clear"]


class Priority(IntEnum):
    """Alarm priority by harm and by the time in which it comes (IEC 60601-1-8:2006+A2:2020, table 1)."""

    INFORMATION = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Ends(StrEnum):
    """What ends an alert. `latched` is IEC 60601-1-8's latching: over only when the condition is gone *and* a person has seen it."""

    STAFF = "staff"
    LATCHED = "latched"
    CLEAR = "clear"


class Subject(StrEnum):
    """Who or what an event is about."""

    RESIDENT = "resident"
    ROOM = "room"
    ANY = "any"
    WARD = "ward"
    VIGIL = "vigil"


class Text(NamedTuple):
    """What a carer reads in one language: what happened, and what to do first."""

    title: str
    what_to_do: str


class Scoring(NamedTuple):
    """How a scorecard counts an event, beyond its subject (a room's is counted by room-day, a resident's by resident-day).

    `happening`: events of the same name answer each other's truth, as smoke and heat of one burning room are one fire; "": only its
    own. `technical`: about equipment, in no overall figure (IEC 60601-1-8:2006+A2:2020, clause 3, keeps technical and physiological
    alarm conditions apart).
    """

    happening: str = ""
    technical: bool = False


ON_ITS_OWN: Final = Scoring()
"""Physiological, and answered by its own code alone."""


@dataclass(frozen=True, slots=True)
class EventType:
    """The one declaration of a condition that can be reported: policy, texts, pages and lists are made from it.

    `code` is "<detector>.<condition>", stable for ever: policies, translations and statistics hang on it. `life_safety` alerts are
    called at once and at every repeat, never rate-limited, shed, or silenced by a model. `pending_s`: seconds the condition must hold
    before anybody is called. `regroup_s`: seconds after the last onset within which another one joins the alert. `hold_s`: seconds a
    cleared condition must stay away. `data_kinds`: sensor kinds, or channels as "<kind>.<channel>", whose missing data makes the alert stale; None: any; empty: none, for what
    happened and stays true. These are defaults: a home may set its own policy for a code.
    """

    code: str
    _: KW_ONLY
    description: str
    priority: Priority
    life_safety: bool
    ends: Ends
    pending_s: float = 0.0
    regroup_s: float
    hold_s: float
    data_kinds: frozenset[str] | None
    subject: Subject
    zh: Text
    en: Text
    scoring: Scoring = ON_ITS_OWN

    @property
    def clears(self) -> bool:
        """Whether whoever raises it also reports the end (phase "clear"); if not, only staff end the alert."""
        return self.ends is not Ends.STAFF


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
