"""What the system page shows of a running core: copied by the engine's thread, read by any other."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from engine.clocks import NEVER_NS
from engine.devices import Unbound
from engine.outputs import Account
from streams.pipeline.core import Core


class Source(NamedTuple):
    """One device and kind: where its readings of this hour went, whom it is about ("" nobody), when it was last heard, and in how many of
    the readings it said "no value"."""

    account: Account
    subject: str
    heard_ns: int | None
    no_value: int


class Statistics(NamedTuple):
    """`totals`: readings processed, duplicate, late, quarantined since the beginning."""

    totals: tuple[int, int, int, int]
    sources: list[Source]
    unbound: list[Unbound]


def statistics(core: Core) -> Statistics:
    """A copy that shares nothing with the core. For the thread that runs the core."""
    engine = core.engine
    index = {name: s for s, name in enumerate(engine.devices.names)}
    arrival_ns = engine.devices.streams.arrival_ns
    no_value = engine.no_value()
    sources = []
    for account in engine.accounts():
        s = index.get((account.device, account.kind))
        heard = s is not None and arrival_ns[s] != NEVER_NS
        subject = "" if s is None else engine.devices.subject[s] or ""
        sources.append(Source(account, subject, int(arrival_ns[s]) if heard else None, no_value.get((account.device, account.kind), 0)))
    unbound = [msgspec.structs.replace(device, kinds=list(device.kinds)) for device in engine.devices.unbound.values()]
    return Statistics(engine.totals(), sources, unbound)
