"""One valid item of every kind, numbered: for the conformance suite, for demonstrations, for whoever writes a sink."""

from __future__ import annotations

from typing import Final

import numpy as np

from alerts.book import AlertBook
from alerts.policy import CodePolicy, Policy
from engine.events import Ends, Event, Priority, event_id
from engine.frame import NS_PER_S
from engine.outputs import Account, Measurements, Reason, Reject
from sinks.items import AuditEntry, Item, ItemKind, account_item, alert_item, audit_item, event_item, measurements_item, quarantine_item

T0_NS: Final = 1_760_000_000 * NS_PER_S
HOUR_NS: Final = 3600 * NS_PER_S
_POLICY: Final = Policy(codes={"falls.fall": CodePolicy(priority=Priority.HIGH, life_safety=True, ends=Ends.STAFF)})
"""Enough of a policy for the one event below: sinks do not know the detectors."""


def event(index: int) -> Event:
    """Fall `index`, each of another resident and a second after the one before."""
    subject, onset_ns = f"resident/r-{index}", T0_NS + index * NS_PER_S
    key = event_id("falls", "falls.fall", subject, onset_ns, "onset")
    decided_ns, arrival_ns = onset_ns + 2 * NS_PER_S, onset_ns + 3 * NS_PER_S
    return Event(
        key, "falls", "falls.fall", subject, "onset", Priority.HIGH, onset_ns, decided_ns, arrival_ns, 0.9, {"impact_g": 3.5 + index}
    )


def item(kind: ItemKind, index: int = 0) -> Item:
    """Item number `index` of `kind`: the same arguments, the same item, bit for bit."""
    match kind:
        case ItemKind.ALERT:
            book = AlertBook(_POLICY)
            (step,) = book.apply(event(index))
            return alert_item(step, book.open()[0])
        case ItemKind.EVENT:
            return event_item(event(index))
        case ItemKind.AUDIT:
            return audit_item(AuditEntry(f"audit-{index}", T0_NS + index, "n-7", "read", f"resident/r-{index}", "体位记录"))
        case ItemKind.ACCOUNT:
            return account_item(Account(f"device-{index}", "accel", T0_NS - T0_NS % HOUR_NS, 100, 97, 1, 1, 1))
        case ItemKind.QUARANTINE:
            reject = Reject(
                Reason.NON_FINITE, "channel x_g holds infinity: send NaN for missing", f"device-{index}", "accel", 50, b"\x00\xff{"
            )
            return quarantine_item(reject, T0_NS + index, index)
        case ItemKind.MEASUREMENTS:
            t_ns = T0_NS + index * NS_PER_S
            values = np.array([[71.5 + index, np.nan], [np.nan, 36.6]], np.float32)
            times = np.array([t_ns, t_ns], np.int64)
            return measurements_item(
                Measurements("vitals", ("resident/r-1", "resident/r-2"), times, ("heart_rate_bpm", "temperature_c"), values)
            )
