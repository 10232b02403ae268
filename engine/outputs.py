"""What comes out of the engine, and why something did not go in."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.events import Event
from engine.frame import Int64
from engine.watch import WatchChange


class Reason(StrEnum):
    """Why input was refused. Stable: device makers and dashboards count by it."""

    MALFORMED = "malformed"  # not JSON, not MessagePack, or not the envelope
    TRUNCATED = "truncated"  # fewer bytes than the header promises
    TOO_LARGE = "too_large"  # the message, or a count in it, is above the limit
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KIND = "unknown_kind"
    WRONG_TYPE = "wrong_type"  # a field of the wrong type, missing or unexpected
    BAD_DEVICE = "bad_device"  # an empty, too long or unprintable device id
    BAD_UNIT = "bad_unit"  # an unknown unit, or values that only make sense in another one
    BAD_RATE = "bad_rate"
    BAD_SHAPE = "bad_shape"  # counts that do not agree with each other
    NON_FINITE = "non_finite"  # infinity; NaN means missing and is welcome
    OUT_OF_RANGE = "out_of_range"  # no working sensor measures that
    BAD_TIME = "bad_time"  # not a time at all: negative, or beyond what nanoseconds can say
    TIME_FUTURE = "time_future"
    TIME_PAST = "time_past"
    UNKNOWN_DEVICE = "unknown_device"  # bound to nobody: counted and offered for binding
    RATE_EXCEEDED = "rate_exceeded"  # far more than the device's own rate allows
    LATE = "late"  # its time had been processed already: kept here, counted as late, not as quarantined
    INTERNAL = "internal"  # a detector failed on it: our fault, kept for repair


class Reject(NamedTuple):
    """One refused chunk (or whole message): a reason to count, a sentence to act on, the bytes kept for repair.

    `readings` is how many readings it held, 0 where that cannot be known, or where only single values were taken out of them: then
    `channels` are those in which they stood.
    """

    reason: Reason
    detail: str
    device: str
    kind: str
    readings: int
    payload: bytes
    channels: tuple[str, ...] = ()


class Measurements(NamedTuple):
    """k rows of one measurement: `name` is a kind ("vitals") or a feature ("feature.heart").

    `subjects` (k,), `t_ns` int64 (k,), `columns` names with the unit last, `values` float32 (k, len(columns)), NaN missing.
    """

    name: str
    subjects: tuple[str, ...]
    t_ns: Int64
    columns: tuple[str, ...]
    values: NDArray[np.float32]


class Late(NamedTuple):
    """A chunk that came after its time had been processed: reported, its bytes kept, not put into the detectors' past. `earlier`: it was
    measured before the device was bound to its present subject, and is that one's in no case."""

    device: str
    kind: str
    t0_ns: int
    behind_ns: int
    readings: int
    payload: bytes
    earlier: bool = False


class Account(NamedTuple):
    """Where the readings of one (device, kind) went in one hour; `received` is the sum of the others."""

    device: str
    kind: str
    hour_ns: int
    received: int
    processed: int
    duplicate: int
    late: int
    quarantined: int


class DataChange(NamedTuple):
    """The data of a signal ("<device>:<kind>" or "<device>:<kind>.<channel>") went missing although its device sends, or is back."""

    subject: str
    source: str
    missing: bool
    at_ns: int


class Outputs(NamedTuple):
    """All outputs of one step or tick. `accounts` are those of closed hours, each returned once.

    `watch`: hazards that are watched from now on, or are not, and why. `data`: what alerts rest on that went missing or came back.
    """

    events: list[Event]
    measurements: list[Measurements]
    rejects: list[Reject]
    late: list[Late]
    accounts: list[Account]
    watch: list[WatchChange]
    data: list[DataChange]

    @classmethod
    def empty(cls) -> Outputs:
        """A fresh, empty set of outputs to collect into."""
        return cls([], [], [], [], [], [], [])

    def add(self, other: Outputs) -> None:
        """Append the outputs of `other`, in order."""
        self.events.extend(other.events)
        self.measurements.extend(other.measurements)
        self.rejects.extend(other.rejects)
        self.late.extend(other.late)
        self.accounts.extend(other.accounts)
        self.watch.extend(other.watch)
        self.data.extend(other.data)
