"""What the watch ledger remembers of a device or a stream, and what it is told."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from engine.clocks import NEVER_NS
from engine.kinds import KINDS
from engine.outage import Outage
from engine.outputs import Reason
from engine.watch import Blind


class Fault(msgspec.Struct, array_like=True, frozen=True):
    """A device ("<device>") or stream ("<device>:<kind>") that is blind, as announced; `ward`: as part of that ward's outage, "": by itself."""

    subject: str
    reason: Blind
    onset_ns: int
    ward: str = ""


class Waiting(msgspec.Struct, array_like=True):
    """A bound device of which nothing usable has come yet."""

    subject: str
    since_ns: int
    patience_ns: int
    kinds: tuple[str, ...]
    instants: bool = False


class Quiet(msgspec.Struct, array_like=True):
    """A stream that fell silent a short while ago: what rests on it is stale, and nobody is told before `limit_ns` have passed since `stopped_ns`."""

    subject: str
    onset_ns: int
    stopped_ns: int
    limit_ns: int
    back_ns: int = NEVER_NS

    def rest_ns(self, least_ns: int) -> int:
        """So long it must be back for its silence to be over: half of the time that it was away."""
        return max(least_ns, (self.back_ns - self.stopped_ns) // 2)


class Refusal(msgspec.Struct, array_like=True):
    """What was refused of one kind of a bound device since it was last accepted."""

    first_ns: int
    last_ns: int
    count: int
    reason: Reason


class LedgerSaved(msgspec.Struct, array_like=True):
    """The ledger as stored."""

    edge_ns: int = NEVER_NS
    faults: dict[str, Fault] = {}
    waiting: dict[str, Waiting] = {}
    refusals: list[tuple[str, str, Refusal]] = []
    outages: dict[str, Outage] = {}
    quiet: dict[str, Quiet] = {}
    untried: dict[str, int] = {}
    away: dict[str, Quiet] = {}


class Due(NamedTuple):
    """What has to be announced."""

    subject: str
    reason: Blind
    onset_ns: int


class Together(NamedTuple):
    """What else stopped when this did: in `ward`, at `stopped_ns` (arrival time), so many devices."""

    ward: str
    stopped_ns: int
    devices: int


def device_of(source: str) -> str:
    """The device of "<device>", "<device>:<kind>" or "<device>:<kind>.<channel>"; a device's own name may hold colons."""
    device, _, kind = source.rpartition(":")
    return device if kind.partition(".")[0] in KINDS else source
