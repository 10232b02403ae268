"""Which hazard of whom is watched: from what each stream could be judged up to (engine/judged.py) to watching and blind (engine/coverage.py).

Looked at every few seconds, for all streams at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine import judged as columns
from engine.charger import Chargers
from engine.clocks import NEVER_NS, Streams
from engine.continuity import Continuity, ContinuitySaved, Shares, shares_of
from engine.coverage import Coverage, CoverageSaved
from engine.detector import Detector
from engine.devices import Devices
from engine.frame import NS_PER_S, Bool, Float64, Int64, Samples
from engine.judged import Columns, columns_of, initial_judged, judge
from engine.kinds import KINDS
from engine.ledger import Due, Ledger, LedgerSaved, Together, device_of
from engine.outputs import DataChange, Outputs
from engine.registry import Registry
from engine.state import grown, pack, unpack
from engine.watch import CARE, FROZEN_FINE_S, FROZEN_READINGS_MIN, SIGNALS_MAX, Blind, Hazard, Signal, WatchLimits

LOOK_EVERY_S: Final = 10
"""Seconds of arrival time from one look over all that is bound to the next."""
_WHY: Final = {columns.NO_VALUE: Blind.NO_VALUE, columns.POOR: Blind.POOR_QUALITY, columns.NO_SIGNAL: Blind.NO_SIGNAL}
_NO_FAULT: Final = frozenset({Blind.EMPTY_BED, Blind.ON_CHARGER, Blind.WARMING_UP, Blind.SILENT, Blind.NEVER_HEARD})
"""Nobody is told of these here: they are none, or another look tells."""
_IN_BED_MIN: Final = 0.5


class WatchingSaved(msgspec.Struct, array_like=True):
    """As stored."""

    judged: bytes = b""
    missing: dict[str, str] = {}
    since: dict[str, int] = {}
    told: list[str] = []
    coverage: CoverageSaved = msgspec.field(default_factory=CoverageSaved)
    ledger: LedgerSaved = msgspec.field(default_factory=LedgerSaved)
    continuity: ContinuitySaved = msgspec.field(default_factory=ContinuitySaved)
    chargers: dict[str, int] = {}


class _Line(NamedTuple):
    """A signal of a bound stream; `bed`: the stream by which the same device says whether somebody lies there, -1: none."""

    source: str
    stream_source: str
    subject: str
    signal: Signal
    bed: int


class _Plan(NamedTuple):
    """All signals of bound streams as arrays (n,); made anew when a binding changes. `part`, `group` number streams, and quantities of subjects."""

    lines: list[_Line]
    stream: Int64
    column: Int64
    part: Int64
    group: Int64
    row: Int64
    instants: Bool
    rate_hz_min: Float64
    frozen_ns: Int64
    ceiling: Float64
    shares: Shares


class _Seen(NamedTuple):
    """One look, an entry for each line of the plan."""

    at_ns: Int64
    expected: Bool
    usable: Bool
    objections: dict[int, Blind]


class Watching:
    """Finds out who is watched, and says what changed: rows to the books, missing data to the alerts, blindness that lasts to the ledger."""

    def __init__(self, detectors: Iterable[Detector[Any, Any]], limits: WatchLimits | None = None) -> None:
        self.limits = limits if limits is not None else WatchLimits()
        self.coverage = Coverage()
        self.ledger = Ledger(self.limits)
        self.continuity = Continuity()
        self.chargers = Chargers(self.limits.charger_ns)
        self._signals: dict[str, tuple[Signal, ...]] = {}
        for detector in detectors:
            for kind, signals in detector.spec.watches.items():
                self._signals[kind] = tuple(dict.fromkeys((*self._signals.get(kind, ()), *signals)))
        for kind, signals in self._signals.items():
            if len(signals) > SIGNALS_MAX:
                raise ValueError(f"{kind} is watched by {len(signals)} signals, more than {SIGNALS_MAX}")
        self._columns: dict[str, Columns] = {kind: columns_of(kind, signals) for kind, signals in self._signals.items()}
        self._judged = initial_judged(64)
        self._plan: _Plan | None = None
        self._missing: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._told: set[str] = set()
        self._waited: tuple[int, dict[int, tuple[str, Blind | None]]] | None = None
        self._said: tuple[int, dict[int, tuple[str, Blind | None]]] | None = None

    # -- what happens -----------------------------------------------------------------------------------------------

    def take(self, kind: str, stream: Int64, samples: Samples, valid: Bool, rate_hz: float, arrival_ns: int) -> None:
        """Accepted chunks (k, n, c) of `kind`; `rate_hz` 0: without a rate."""
        own = self._columns.get(kind)
        if own is not None:
            step_ns = int(NS_PER_S / rate_hz) if rate_hz > 0 else 0
            judge(self._judged.table, self._judged.last, stream, samples, valid, step_ns, arrival_ns, *own)

    def bind(self, devices: Devices, changed: Iterable[int]) -> None:
        """There are new streams, or the streams `changed` are about somebody else: what they could be judged up to was about others."""
        self._plan = None
        size = devices.streams.slot.shape[0]
        if size > self._judged.table.shape[0]:
            self._judged = grown(self._judged, initial_judged(size))
        self.continuity.grow(size)
        changed = list(changed)
        self.continuity.forget(changed)
        fresh = initial_judged(1)
        for s in changed:
            self._judged.table[s], self._judged.last[s] = fresh.table[0], fresh.last[0]

    def leap(self, now_ns: int) -> None:
        """The clock was set, or the house was shut: nobody lived or waited in the time between."""
        self.ledger.leap(now_ns)
        self.coverage.leap(now_ns)
        self.continuity.leap()

    def tick(self, registry: Registry, devices: Devices, now_ns: int, out: Outputs) -> None:
        """Time passed: who fell silent, whose binding began or ended, and every few seconds who is watched."""
        for s in devices.gone_silent(now_ns):
            device, limit_ns = devices.names[s][0], self._silence_ns(registry, devices, int(s))
            expected = self.chargers.lies(device, now_ns)
            if expected:
                limit_ns = max(limit_ns, now_ns - int(devices.streams.arrival_ns[s]) + self.chargers.left_ns(device, now_ns))
            self.ledger.silent(registry, devices, int(s), now_ns, out, limit_ns, expected=expected)
        self.ledger.follow(registry, devices, now_ns, out)
        if now_ns // NS_PER_S % LOOK_EVERY_S == 0:
            self.ledger.check(registry, devices, now_ns, out)
            self._look(registry, devices, now_ns, out)

    def _look(self, registry: Registry, devices: Devices, now_ns: int, out: Outputs) -> None:
        if closed := self.coverage.close_day(now_ns):
            out.measurements.extend(closed)
            self._plan = self._waited = None  # rows of the day before are gone
        plan = self._plan = self._plan if self._plan is not None else self._planned(devices)
        seen = self._seen(plan, devices.streams, now_ns)
        if self._waited is None or self._waited[0] != self.ledger.changes:
            self._waited = (self.ledger.changes, self._waiting())
        waiting = self._waited[1]
        size = len(self.coverage.keys)
        bound, watched = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        judged_ns = np.full(size, NEVER_NS, np.int64)
        bound[plan.row[seen.expected]] = True
        watched[plan.row[seen.usable]] = True
        np.maximum.at(judged_ns, plan.row, seen.at_ns)
        bound[list(waiting)] = True
        changed = frozenset(self.coverage.note(bound, watched, judged_ns, now_ns).tolist())
        blind = np.flatnonzero(seen.expected & ~seen.usable)
        reasons = {int(i): self._reason(plan, int(i), seen, devices, now_ns) for i in blind}
        why: dict[int, tuple[str, Blind | None]] = {}
        for i in sorted(reasons, key=lambda i: int(seen.at_ns[i])):
            why[int(plan.row[i])] = (plan.lines[i].source, reasons[i])
        for r in sorted(changed | why.keys() | (waiting.keys() if self._waited is not self._said else frozenset())):
            said = ("", None) if watched[r] else why.get(r) or waiting.get(r) or ("", Blind.WARMING_UP)
            if self.coverage.why[r] != said or r in changed:
                self.coverage.why[r] = said
                if bound[r]:
                    out.watch.append(self.coverage.change(r, now_ns))
        self._said = self._waited
        self._tell(plan, seen, reasons, watched, registry, devices, now_ns, out)

    # -- how --------------------------------------------------------------------------------------------------------

    def _planned(self, devices: Devices) -> _Plan:
        lines: list[_Line] = []
        stream, column, part, group, row = [], [], [], [], []
        groups: dict[tuple[str, str], int] = {}
        parts: dict[int, int] = {}
        for s, (device, kind) in enumerate(devices.names):
            subject = devices.subject[s]
            if subject is None or devices.streams.slot[s] < 0:
                continue
            bed = devices.find(device, "bed") if kind != "bed" else None
            for m, signal in enumerate(self._signals.get(kind, ())):
                whole = f"{device}:{kind}"
                source = f"{whole}.{signal.channel}" if signal.channel else whole
                lines.append(_Line(source, whole, subject, signal, -1 if bed is None else bed))
                stream.append(s)
                column.append(m)
                part.append(parts.setdefault(s, len(parts)))
                group.append(groups.setdefault((subject, signal.quantity), len(groups)))
                row.append(self.coverage.row(subject, signal.hazard))
        instants = np.array([KINDS[devices.names[s][1]].timing == "irregular" for s in stream], np.bool_)
        numbers = [np.array(values, np.int64) for values in (stream, column, part, group, row)]
        signals = [line.signal for line in lines]
        rate_hz_min, ceiling = np.array([one.rate_hz_min for one in signals]), np.array([one.ceiling for one in signals])
        frozen_ns = np.array([round(one.frozen_s * NS_PER_S) for one in signals], np.int64)
        return _Plan._make((lines, *numbers, instants, rate_hz_min, frozen_ns, ceiling, shares_of(signals)))

    def _seen(self, plan: _Plan, streams: Streams, now_ns: int) -> _Seen:
        table = self._judged.table
        at_ns = np.where(plan.instants, streams.first_ns[plan.stream], table[plan.stream, plan.column])
        heard = at_ns != NEVER_NS
        some = np.zeros(int(plan.part.max()) + 1 if plan.lines else 0, np.bool_)
        some[plan.part[heard]] = True
        # A channel that a device never fills is none of its channels, unless it fills none at all.
        expected = heard | (~some[plan.part] & (streams.first_ns[plan.stream] != NEVER_NS))
        usual_ns = np.maximum(table[plan.stream, columns.GAP + plan.column], streams.period_ns[plan.stream])
        patience_ns = np.maximum(self.limits.missing_ns, self.limits.missing_gaps * usual_ns)
        usable = heard & (plan.instants | (np.where(heard, now_ns - at_ns, 0) <= patience_ns))
        rate_hz = streams.rate_hz[plan.stream]
        objections = {int(i): Blind.RATE_UNUSABLE for i in np.flatnonzero(usable & (rate_hz > 0) & (rate_hz < plan.rate_hz_min))}
        objections |= dict.fromkeys(np.flatnonzero(usable & self._frozen(plan)).tolist(), Blind.NO_SIGNAL)
        low, up_to_ns = self.continuity.look(plan.stream, plan.column, plan.shares, streams, table, usual_ns, usable, now_ns)
        for i, reason in low.items():
            if i not in objections:
                objections[i] = reason
                at_ns[i] = min(at_ns[i], up_to_ns[i])
        for i in objections:
            usable[i] = False
        return _Seen(at_ns, expected, usable, objections)

    def _frozen(self, plan: _Plan) -> Bool:
        """Values that have been the same to the last digit for longer than a living body keeps them."""
        table, value = self._judged.table, self._judged.last[plan.stream, plan.column]
        stood_ns = table[plan.stream, plan.column] - table[plan.stream, columns.SINCE + plan.column]
        fine = (2 * value) % 1 != 0
        long = stood_ns >= np.where(fine, np.minimum(plan.frozen_ns, round(FROZEN_FINE_S * NS_PER_S)), plan.frozen_ns)
        often = table[plan.stream, columns.SAME + plan.column] >= FROZEN_READINGS_MIN
        found: Bool = (plan.frozen_ns > 0) & long & often & (value != plan.ceiling)
        return found

    def _waiting(self) -> dict[int, tuple[str, Blind | None]]:
        """Rows of devices that were not heard since they were bound."""
        found: dict[int, tuple[str, Blind | None]] = {}
        hazards: dict[tuple[str, ...], tuple[Hazard, ...]] = {}
        for device, row in self.ledger.waiting.items():
            if row.kinds not in hazards:
                declared = dict.fromkeys(signal.hazard for kind in row.kinds for signal in self._signals.get(kind, ()))
                hazards[row.kinds] = tuple(declared) or (
                    () if row.kinds else (Hazard.DEVICE,)
                )  # a door: it is declared that nothing is watched by it
            # Not before it has had its time: a wall on which each button that nobody needed yet is "not watched" is read by nobody.
            why = (device, self.ledger.reason_of(device, Blind.WARMING_UP))
            for hazard in hazards[row.kinds]:
                found[self.coverage.row(row.subject, hazard)] = why
        return found

    def _reason(self, plan: _Plan, i: int, seen: _Seen, devices: Devices, now_ns: int) -> Blind:
        line, s = plan.lines[i], int(plan.stream[i])
        if self.chargers.since and self.chargers.lies(devices.names[s][0], now_ns):
            return Blind.ON_CHARGER
        if devices.streams.silent[s]:
            return self.ledger.reason_of(line.stream_source, Blind.SILENT)
        if i in seen.objections:
            return seen.objections[i]
        if line.bed >= 0 and self._judged.last[line.bed, 0] < _IN_BED_MIN:
            at_ns = int(self._judged.table[line.bed, columns.AT])
            if now_ns - at_ns <= self.limits.missing_ns:
                return Blind.EMPTY_BED
        return _WHY.get(int(self._judged.table[s, columns.WHY + plan.column[i]]), Blind.SILENT)

    def _tell(
        self,
        plan: _Plan,
        seen: _Seen,
        reasons: dict[int, Blind],
        watched: Bool,
        registry: Registry,
        devices: Devices,
        now_ns: int,
        out: Outputs,
    ) -> None:
        """What is blind: to the alerts that rest on it, and after a while to the staff."""
        whole = np.zeros(int(plan.group.max()) + 1 if plan.lines else 0, np.bool_)
        whole[plan.group[seen.usable]] = True
        missing: dict[str, str] = {}
        since: dict[str, int] = {}
        due: dict[int, Due] = {}
        for i, reason in reasons.items():
            line, s = plan.lines[i], int(plan.stream[i])
            if devices.streams.silent[s]:
                continue  # announced as a whole (engine/ledger.py)
            if not whole[plan.group[i]]:
                missing[line.source] = line.subject
            at_ns = int(seen.at_ns[i])
            begin_ns = since[line.source] = self._since.get(line.source, at_ns if at_ns != NEVER_NS else now_ns)
            if watched[plan.row[i]] or reason in _NO_FAULT:
                continue
            unwatched_ns = int(self.coverage.rows.since_ns[plan.row[i]])  # another device may have watched it so far
            if now_ns - max(begin_ns, unwatched_ns) >= self._limit_ns(registry, line.subject, line.signal.hazard):
                due[i] = Due(line.subject, reason, begin_ns)
        for source, subject in self._missing.items():
            if source not in missing:
                out.data.append(DataChange(subject, source, False, now_ns))
        for source, subject in missing.items():
            if source not in self._missing:
                out.data.append(DataChange(subject, source, True, now_ns))
        self._missing, self._since = missing, since
        wanted = _gathered(plan, seen, due)
        for source in sorted(self._told - set(wanted)):
            self.ledger.end(source, now_ns, out)
        wards = Counter(registry.ward(device_of(source), now_ns) for source, one in wanted.items() if one.reason is Blind.INCOMPLETE)
        for source, one in wanted.items():
            ward = registry.ward(device_of(source), now_ns)
            together = Together(ward, one.onset_ns, wards[ward]) if one.reason is Blind.INCOMPLETE else None
            self.ledger.begin(source, one, now_ns, out, together)
        self._told = self.ledger.held = set(wanted)

    def _limit_ns(self, registry: Registry, subject: str, hazard: Hazard) -> int:
        """How long `hazard` may be blind before somebody is told, by the resident's care plan or by default."""
        own = [c.value for c in registry.care.get(subject, ()) if (c.detector, c.field) == (CARE, f"{hazard}_s") and c.value is not None]
        return round(own[-1] * NS_PER_S) if own else self.limits.told_ns[hazard]

    def _silence_ns(self, registry: Registry, devices: Devices, s: int) -> int:
        """How long stream `s` may be silent before somebody is told: as long as the first of the hazards that its device watches."""
        subject = devices.subject[s] or ""
        hazards = {signal.hazard for kind in devices.kinds(devices.names[s][0]) for signal in self._signals.get(kind, ())}
        return min(self._limit_ns(registry, subject, hazard) for hazard in hazards or {Hazard.DEVICE})

    # -- snapshot ---------------------------------------------------------------------------------------------------

    def save(self) -> WatchingSaved:
        """For the snapshot."""
        return WatchingSaved(
            pack(self._judged),
            self._missing,
            self._since,
            sorted(self._told),
            self.coverage.save(),
            self.ledger.save(),
            self.continuity.save(),
            self.chargers.since,
        )

    def load(self, saved: WatchingSaved, size: int) -> None:
        """Inverse of `save`, for `size` rows of the stream table; what was stored before there was a watch begins with none."""
        self._judged = unpack(initial_judged(0), saved.judged) if saved.judged else initial_judged(size)
        self._missing, self._since, self._told = dict(saved.missing), dict(saved.since), set(saved.told)
        self.coverage.load(saved.coverage)
        self.ledger.load(saved.ledger)
        self.ledger.held = self._told
        self.continuity.load(saved.continuity, size)
        self.chargers.since = dict(saved.chargers)
        self._waited = self._said = None
        self._plan = None


def _gathered(plan: _Plan, seen: _Seen, due: dict[int, Due]) -> dict[str, Due]:
    """A stream of which all that is expected is blind for one reason is one case, not one for each channel."""
    of_stream: dict[int, list[int]] = {}
    for i in due:
        of_stream.setdefault(int(plan.part[i]), []).append(i)
    found: dict[str, Due] = {}
    for part, index in of_stream.items():
        count = int(np.count_nonzero(seen.expected & (plan.part == part)))
        if len(index) == count and len({due[i].reason for i in index}) == 1:
            first = min((due[i] for i in index), key=lambda one: one.onset_ns)
            found[plan.lines[index[0]].stream_source] = first
        else:
            found |= {plan.lines[i].source: due[i] for i in index}
    return found
