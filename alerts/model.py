"""What an alert is: states, reasons, transitions, commands. Values only; the rules are in `alerts.book`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from engine.events import Event

NEVER_NS: Final = 2**63 - 1
"""`Alert.due_ns` of an alert that no clock will move."""


_SEPARATOR: Final = "\x1f"


class State(StrEnum):
    """Where an alert stands.

    In the words of FHIR R6 DeviceAlert: `pending`, `firing` and `acknowledged` are *presence* on; `stale` is presence unknown;
    `resolved` is presence off. *acknowledged* is FHIR's acknowledged = true.
    """

    PENDING = "pending"  # the condition has not yet held long enough to call anybody
    FIRING = "firing"  # somebody has to come
    ACKNOWLEDGED = "acknowledged"  # somebody said: I am on it
    STALE = "stale"  # the data that would say how it goes on is missing
    RESOLVED = "resolved"  # over; the only state that is never left


class Reason(StrEnum):
    """Why a transition took place. Stable: statistics and receivers count by it."""

    ONSET = "onset"  # the condition began
    HELD = "held"  # it held for the policy's pending_s
    REPEATED = "repeated"  # the same condition again: counted; announced again where life is at stake, or long after the last
    CONDITION_CLEARED = "condition_cleared"  # the detector reports the end; the alert waits for its hold time, or for staff
    CLEARED_WHILE_PENDING = "cleared_while_pending"  # over before it was worth calling anybody
    CLEARED = "cleared"  # over, and stayed over for hold_s
    DATA_MISSING = "data_missing"  # a device of the subject fell silent
    DEVICE_UNBOUND = "device_unbound"  # a device of the subject was taken away, or given to somebody else
    DATA_RETURNED = "data_returned"  # and speaks again
    ACKNOWLEDGED_BY_STAFF = "acknowledged_by_staff"
    ATTENDED_BY_STAFF = "attended_by_staff"  # somebody is at the person's side
    RESOLVED_BY_STAFF = "resolved_by_staff"


class Outcome(StrEnum):
    """What staff found. It is what sensitivity and false-alarm figures of a home are counted from."""

    TRUE = "true"  # it was so
    FALSE = "false"  # it was not so
    TEST = "test"  # somebody tested the system
    UNCLEAR = "unclear"


class Action(StrEnum):
    """What staff can say to an alert."""

    ACKNOWLEDGE = "acknowledge"
    ATTEND = "attend"
    RESOLVE = "resolve"


class Transition(msgspec.Struct, frozen=True):
    """One step in the life of an alert, and the thing a sink delivers.

    `id` is "<alert id>-<sequence>": the webhook's idempotency key. `from_state` is None for the first. `event_id` is the event that
    caused it, "" for clocks and staff; `by` the pseudonym of who acted, "" for events and clocks. `notify` says that somebody has to
    be told (a step of bookkeeping is stored but rings nowhere).
    """

    id: str
    alert_id: str
    sequence: int
    from_state: State | None
    to_state: State
    reason: Reason
    at_ns: int
    event_id: str
    by: str
    notify: bool
    outcome: Outcome | None = None
    note: str = ""


class Alert(msgspec.Struct, frozen=True):
    """A condition of one subject that somebody has to deal with.

    Three clocks: `onset_ns` (device time at which the condition began), `arrival_ns` (when the data that settled it reached Vigil),
    `decided_ns` (device time of that data), all of the first event. `values`, `score` are the latest. FHIR DeviceAlert: `code` is
    code, `subject` subject, `priority` priority, `event_ids` derivedFrom (the newest ones), `state` presence and acknowledged.

    `repeats` counts onsets after the first. `active` are the onsets whose end nobody reported yet, as `onset_key`. `resume` is the state under
    `stale`. `due_ns` is when a clock will move the alert. `history` is whole unless `history_dropped` > 0: then repeats were left out.
    """

    id: str
    code: str
    subject: str
    priority: int
    life_safety: bool
    state: State
    onset_ns: int
    arrival_ns: int
    decided_ns: int
    last_onset_ns: int
    last_at_ns: int
    score: float
    values: dict[str, float]
    repeats: int
    sequence: int
    event_ids: tuple[str, ...]
    active: tuple[str, ...]
    history: tuple[Transition, ...]
    history_dropped: int = 0
    resume: State | None = None
    due_ns: int = NEVER_NS
    acknowledged_by: str = ""
    attended_by: str = ""
    outcome: Outcome | None = None

    @property
    def present(self) -> bool:
        """Whether the condition is, as far as known, still there."""
        return bool(self.active)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices ("<device>:<kind>") the alert is about as long as they are, for codes about devices; else empty."""
        return tuple(sorted({key.split(_SEPARATOR)[2] for key in self.active if key.count(_SEPARATOR) == 2} - {""}))

    @property
    def device_gone(self) -> bool:
        """Whether the alert is stale because a device it rests on was taken away."""
        missing = (step.reason for step in reversed(self.history) if step.reason in {Reason.DATA_MISSING, Reason.DEVICE_UNBOUND})
        return self.state is State.STALE and next(missing, None) is Reason.DEVICE_UNBOUND

    @property
    def acknowledged(self) -> bool:
        """Whether a person took it on, also under `stale`."""
        return State.ACKNOWLEDGED in {self.state, self.resume}


def onset_key(event: Event) -> str:
    """What an onset and the clear that ends it have in common, beside code and subject."""
    return _SEPARATOR.join((event.detector, str(event.onset_ns), event.device))


class Command(msgspec.Struct, frozen=True):
    """What a member of staff says. `id` makes a repeated command harmless; `outcome` and `note` belong to resolve."""

    id: str
    action: Action
    alert_id: str
    by: str
    at_ns: int
    outcome: Outcome | None = None
    note: str = ""


class RefusalReason(StrEnum):
    """Why a command was not carried out."""

    UNKNOWN_ALERT = "unknown_alert"
    CLOSED = "closed"
    PENDING = "pending"
    ALREADY = "already"
    NO_AUTHOR = "no_author"
    NO_OUTCOME = "no_outcome"
    NOTE_TOO_LONG = "note_too_long"
    STILL_PRESENT = "still_present"


class Refusal(msgspec.Struct, frozen=True):
    """A command that was not carried out: a reason to count, a sentence for whoever gave it."""

    command_id: str
    alert_id: str
    reason: RefusalReason
    detail: str


def alert_id(first: Event) -> str:
    """The id of the alert that `first` opens: "a-" and the event's id, so the same data opens the same alert everywhere."""
    return f"a-{first.id}"
