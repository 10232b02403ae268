"""Many devices of a ward that stop at once are one case: their gateway, their network, or its clock.

The registry knows no gateways; devices that stop together say which they had in common. So one alert calls, not one for each resident, and
what rests on their data becomes stale all the same.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.clocks import NEVER_NS
from engine.devices import Devices
from engine.events import Event, Phase, Priority, event_id
from engine.frame import NS_PER_S
from engine.registry import Registry
from engine.technical import OUTAGE, OUTAGE_CLOCK, UNTRIED

TOGETHER_DEVICES: Final = 5
"""So many devices do not stop within TOGETHER_NS by chance."""
TOGETHER_NS: Final = 30 * NS_PER_S
OVERDUE_NS: Final = 45 * NS_PER_S
"""A device has stopped when nothing usable came for so long, and for twice its own period."""
JOIN_NS: Final = 60 * NS_PER_S
"""Whoever stopped at most this much later than the first, however much later that is found, is part of it."""
REST_SHARE: Final = 0.2
REST_NS: Final = 300 * NS_PER_S
"""An outage is over when all are back; when at most this share is still missing so long after most came back, those are cases of their own."""


class Outage(msgspec.Struct, array_like=True):
    """Devices of one ward that stopped at `stopped_ns` (arrival time)."""

    stopped_ns: int
    clock: bool
    devices: int
    most_back_ns: int = NEVER_NS


def event(ward: str, outage: Outage, phase: Phase, now_ns: int) -> Event:
    """The technical event of an outage."""
    code, subject = (OUTAGE_CLOCK if outage.clock else OUTAGE).code, f"ward/{ward}"
    identity = event_id("device", code, subject, outage.stopped_ns, phase)
    values = {"devices": float(outage.devices)}
    return Event(identity, "device", code, subject, phase, int(Priority.LOW), outage.stopped_ns, now_ns, now_ns, 1.0, values)


def untried(ward: str, since_ns: int, devices: int, phase: Phase, now_ns: int) -> Event:
    """The technical event that `devices` of a ward, which report only what happens, were never heard."""
    subject = f"ward/{ward}"
    identity = event_id("device", UNTRIED.code, subject, since_ns, phase)
    values = {"devices": float(devices)}
    return Event(identity, "device", UNTRIED.code, subject, phase, int(Priority.LOW), since_ns, now_ns, now_ns, 1.0, values)


def stopped_with(devices: Devices, registry: Registry, s: int, now_ns: int) -> int:
    """How many devices of the ward of stream `s`, its own among them, gave their last usable chunk when `s` gave its."""
    ward = registry.ward(devices.names[s][0], now_ns)
    streams = devices.streams
    last: dict[str, int] = {}
    period: dict[str, int] = {}
    size = len(devices.names)
    heard = (streams.slot[:size] >= 0) & (streams.first_ns[:size] != NEVER_NS) & (streams.period_ns[:size] > 0)
    for one in np.flatnonzero(heard):
        device = devices.names[one][0]
        last[device] = max(last.get(device, NEVER_NS), int(streams.arrival_ns[one]))
        period[device] = min(period.get(device, 2**62), int(streams.period_ns[one]))
    reference_ns = int(streams.arrival_ns[s])
    return sum(
        -max(TOGETHER_NS, 2 * period[device]) <= at_ns - reference_ns <= TOGETHER_NS
        and now_ns - at_ns >= max(OVERDUE_NS, 2 * period[device])
        and registry.ward(device, now_ns) == ward
        for device, at_ns in last.items()
    )
