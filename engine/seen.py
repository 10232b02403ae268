"""What one look over all bound streams sees: which line is expected to give something, whether it does, and what speaks against it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine import judged as columns
from engine.clocks import NEVER_NS, Streams
from engine.continuity import Continuity
from engine.frame import Bool, Int64
from engine.judged import Judged
from engine.watch import FROZEN_READINGS_MIN, Blind, WatchLimits
from engine.watch_plan import Plan


class Seen(NamedTuple):
    """One look, an entry for each line of the plan. `at_ns`: up to when it could be judged."""

    at_ns: Int64
    expected: Bool
    usable: Bool
    objections: dict[int, Blind]


def see(
    plan: Plan, streams: Streams, judged: Judged, continuity: Continuity, limits: WatchLimits, taken_out: dict[str, int], now_ns: int
) -> Seen:
    """Look at every line. `taken_out`: when values of a channel were last refused while the rest of the device's were taken, by source."""
    table = judged.table
    at_ns = np.where(plan.instants, streams.first_ns[plan.stream], table[plan.stream, plan.column])
    heard = at_ns != NEVER_NS
    some = np.zeros(int(plan.part.max()) + 1 if plan.lines else 0, np.bool_)
    some[plan.part[heard]] = True
    # A channel that a device never fills is none of its channels, unless it fills none at all.
    expected = heard | (~some[plan.part] & (streams.first_ns[plan.stream] != NEVER_NS))
    usual_ns = table[plan.stream, columns.GAP + plan.column]
    # an interval says how long it was, which may be anything, and nothing of how often one comes
    usual_ns = np.where(plan.intervals, usual_ns, np.maximum(usual_ns, streams.period_ns[plan.stream]))
    patience_ns = np.maximum(limits.missing_ns, limits.missing_gaps * usual_ns)
    usable = heard & (plan.instants | (np.where(heard, now_ns - at_ns, 0) <= patience_ns))
    refused = _refused(plan, usable, patience_ns, taken_out, now_ns)
    expected[refused] = True
    rate_hz = streams.rate_hz[plan.stream]
    objections = dict.fromkeys(refused, Blind.VALUES_UNUSABLE)
    objections |= {int(i): Blind.RATE_UNUSABLE for i in np.flatnonzero(usable & (rate_hz > 0) & (rate_hz < plan.rate_hz_min))}
    frozen = np.flatnonzero(usable & _frozen(plan, judged))
    if frozen.size:
        objections |= dict.fromkeys(frozen.tolist(), Blind.NO_SIGNAL)
        at_ns[frozen] = table[plan.stream[frozen], columns.SINCE + plan.column[frozen]]
    low, up_to_ns = continuity.look(plan.stream, plan.column, plan.shares, streams, table, usual_ns, usable, now_ns)
    for i, reason in low.items():
        if i not in objections:
            objections[i] = reason
            at_ns[i] = min(at_ns[i], up_to_ns[i])
    for i in objections:
        usable[i] = False
    return Seen(at_ns, expected, usable, objections)


def _refused(plan: Plan, usable: Bool, patience_ns: Int64, taken_out: dict[str, int], now_ns: int) -> list[int]:
    """Lines that get nothing usable because what comes is refused, although the channels beside them are taken."""
    if not taken_out:
        return []
    at_ns = np.array([taken_out.get(line.source, NEVER_NS) for line in plan.lines], np.int64)
    recent = (at_ns != NEVER_NS) & (at_ns >= now_ns - patience_ns)
    found: list[int] = np.flatnonzero(recent & ~usable).tolist()
    return found


def _frozen(plan: Plan, judged: Judged) -> Bool:
    """Values that have been the same to the last digit for longer than a living body, or the air of a room, keeps them."""
    table, value = judged.table, judged.last[plan.stream, plan.column]
    stood_ns = table[plan.stream, plan.column] - table[plan.stream, columns.SINCE + plan.column]
    fine = (2 * value) % 1 != 0
    long = stood_ns >= np.where(fine, plan.fine_ns, plan.frozen_ns)
    often = table[plan.stream, columns.SAME + plan.column] >= FROZEN_READINGS_MIN
    found: Bool = (plan.frozen_ns > 0) & long & often & (value != plan.rest)
    return found
