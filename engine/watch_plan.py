"""All signals of bound streams as arrays, so that a look at who is watched is a few operations on whole columns."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.continuity import Shares, shares_of
from engine.coverage import Coverage
from engine.devices import Devices
from engine.frame import NS_PER_S, Bool, Float64, Int64
from engine.kinds import KINDS
from engine.watch import Signal

NO_BED: Final = -1


class Line(NamedTuple):
    """A signal of a bound stream."""

    source: str
    stream_source: str
    subject: str
    signal: Signal


class Plan(NamedTuple):
    """The lines, and as arrays (n,) what a look asks of them; made anew when a binding changes.

    `part`, `group` number streams, and quantities of subjects; `row` is that of the coverage; `bed` is the stream by which the same device says
    whether somebody lies there, NO_BED: none.
    """

    lines: list[Line]
    stream: Int64
    column: Int64
    part: Int64
    group: Int64
    row: Int64
    bed: Int64
    instants: Bool
    intervals: Bool
    rate_hz_min: Float64
    frozen_ns: Int64
    fine_ns: Int64
    rest: Float64
    shares: Shares


def planned(devices: Devices, signals: dict[str, tuple[Signal, ...]], coverage: Coverage) -> Plan:
    """The plan for what is bound now; `signals` by kind."""
    lines: list[Line] = []
    stream, column, part, group, row, beds = [], [], [], [], [], []
    groups: dict[tuple[str, str], int] = {}
    parts: dict[int, int] = {}
    for s, (device, kind) in enumerate(devices.names):
        subject = devices.subject[s]
        if subject is None or devices.streams.slot[s] < 0:
            continue
        bed = devices.find(device, "bed") if kind != "bed" else None
        for m, signal in enumerate(signals.get(kind, ())):
            whole = f"{device}:{kind}"
            source = f"{whole}.{signal.channel}" if signal.channel else whole
            lines.append(Line(source, whole, subject, signal))
            stream.append(s)
            column.append(m)
            part.append(parts.setdefault(s, len(parts)))
            group.append(groups.setdefault((subject, signal.quantity), len(groups)))
            row.append(coverage.row(subject, signal.hazard))
            beds.append(NO_BED if bed is None else bed)
    instants, intervals = (np.array([KINDS[devices.names[s][1]].timing == t for s in stream], np.bool_) for t in ("irregular", "interval"))
    numbers = [np.array(values, np.int64) for values in (stream, column, part, group, row, beds)]
    own = [line.signal for line in lines]
    rate_hz_min, rest = np.array([one.rate_hz_min for one in own]), np.array([one.rest for one in own])
    frozen_ns = np.array([round(one.frozen_s * NS_PER_S) for one in own], np.int64)
    fine_ns = np.array([round((one.fine_s or one.frozen_s) * NS_PER_S) for one in own], np.int64)
    return Plan._make((lines, *numbers, instants, intervals, rate_hz_min, frozen_ns, fine_ns, rest, shares_of(own)))
