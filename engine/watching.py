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
from engine.continuity import Continuity, ContinuitySaved
from engine.coverage import Coverage, CoverageSaved
from engine.detector import Detector
from engine.devices import Devices
from engine.frame import NS_PER_S, Bool, Int64, Samples
from engine.judged import Columns, columns_of, initial_judged, judge
from engine.ledger import Ledger
from engine.ledger_rows import Due, LedgerSaved, Together, device_of
from engine.outputs import DataChange, Outputs, Reject
from engine.registry import Registry
from engine.seen import Seen, see
from engine.state import grown, pack, unpack
from engine.watch import CARE, CARE_S_MIN, SIGNALS_MAX, Blind, Hazard, Signal, WatchLimits
from engine.watch_plan import Line, Plan, planned

LOOK_EVERY_S: Final = 10
"""Seconds of arrival time from one look over all that is bound to the next."""
_REASONS: Final = (*Blind, Blind.SILENT)
_SILENT: Final = len(Blind)
"""The last of _REASONS: the whole stream is."""
_OF_WHY: Final = np.zeros(4, np.int64)
_OF_WHY[:] = _REASONS.index(Blind.SILENT)
for _why, _reason in ((columns.NO_VALUE, Blind.NO_VALUE), (columns.POOR, Blind.POOR_QUALITY), (columns.NO_SIGNAL, Blind.NO_SIGNAL)):
    _OF_WHY[_why] = _REASONS.index(_reason)
_EMPTY_BED: Final = _REASONS.index(Blind.EMPTY_BED)
_ON_CHARGER: Final = _REASONS.index(Blind.ON_CHARGER)
_NO_FAULT: Final = np.array(
    [reason in {Blind.EMPTY_BED, Blind.ON_CHARGER, Blind.WARMING_UP, Blind.SILENT, Blind.NEVER_HEARD} for reason in _REASONS]
)
"""Nobody is told of these here: they are none, or another look tells."""
_NO_FAULT_NS: Final = 0
"""In the place of a time: blind, and no fault."""
_OF_SENSOR: Final = np.array([reason in {Blind.NO_SIGNAL, Blind.VALUES_UNUSABLE} for reason in _REASONS])
"""A sensor that is broken or wrongly set up is told of even where the same hazard is watched by another quantity, unless its own comes from elsewhere."""
_NOTHING: Final = (np.zeros(0, np.bool_), np.zeros(0, np.int64), np.zeros(0, np.int64))
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
    taken_out: dict[str, int] = {}
    chargers: dict[str, int] = {}


class _Last(NamedTuple):
    """`since_ns`, `missing` (n,): since when each line is blind (NEVER_NS: it is not; _NO_FAULT_NS: it is, and by no fault), and whether alerts miss its data. `decides`, `code` (rows,):
    which line says why a row is blind (-1: none), and the reason."""

    since_ns: Int64
    missing: Bool
    decides: Int64
    code: Int64
    changes: int


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
        self._plan: Plan | None = None
        self._missing: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._last: _Last | None = None
        """What the look before found, by the same plan."""
        self._told: set[str] = set()
        self._taken_out: dict[str, int] = {}
        self._soonest_ns = min(round(CARE_S_MIN * NS_PER_S), *self.limits.told_ns.values())
        self._waited: tuple[int, dict[int, tuple[str, Blind | None]]] | None = None
        self._said: tuple[int, dict[int, tuple[str, Blind | None]]] | None = None

    # -- what happens -----------------------------------------------------------------------------------------------

    def take(self, kind: str, stream: Int64, samples: Samples, valid: Bool, rate_hz: float, arrival_ns: int) -> None:
        """Accepted chunks (k, n, c) of `kind`; `rate_hz` 0: without a rate."""
        own = self._columns.get(kind)
        if own is not None:
            step_ns = int(NS_PER_S / rate_hz) if rate_hz > 0 else 0
            judge(self._judged.table, self._judged.last, stream, samples, valid, step_ns, arrival_ns, *own)

    def take_out(self, partly: Iterable[Reject], registry: Registry, arrival_ns: int) -> None:
        """The codec refused values of some channels, in chunks of which it took the others."""
        for reject in partly:
            if not registry.knows(reject.device):
                continue
            watched = {signal.channel for signal in self._signals.get(reject.kind, ())}
            for channel in reject.channels:
                if channel in watched:
                    self._taken_out[f"{reject.device}:{reject.kind}.{channel}"] = arrival_ns

    def bind(self, devices: Devices, changed: Iterable[int]) -> None:
        """There are new streams, or the streams `changed` are about somebody else: what they could be judged up to was about others."""
        self._forget_plan()
        size = devices.streams.slot.shape[0]
        if size > self._judged.table.shape[0]:
            self._judged = grown(self._judged, initial_judged(size))
        self.continuity.grow(size)
        changed = list(changed)
        self.continuity.forget(changed)
        fresh = initial_judged(1)
        for s in changed:
            self._judged.table[s], self._judged.last[s] = fresh.table[0], fresh.last[0]
            stream = "{}:{}.".format(*devices.names[s])
            self._taken_out = {source: at_ns for source, at_ns in self._taken_out.items() if not source.startswith(stream)}

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
            self._forget_plan()
            self._waited = None  # rows of the day before are gone
        plan = self._plan = self._plan if self._plan is not None else self._new_plan(devices)
        self._taken_out = {source: at_ns for source, at_ns in self._taken_out.items() if now_ns - at_ns <= self.limits.forget_ns}
        seen = see(plan, devices.streams, self._judged, self.continuity, self.limits, self._taken_out, now_ns)
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
        blind = seen.expected & ~seen.usable
        code = self._codes(plan, seen, devices.streams, now_ns)
        index = np.flatnonzero(blind)
        index = index[np.argsort(seen.at_ns[index], kind="stable")]
        decides = np.full(size, -1, np.int64)
        decides[plan.row[index]] = index  # of several the one that could be judged last
        row_code = np.where(decides >= 0, code[decides], 0) if plan.lines else np.zeros(size, np.int64)
        last = self._last if self._last is not None else _Last(np.full(len(plan.lines), NEVER_NS), *_NOTHING, -1)
        again = set(np.flatnonzero(self._other(last, decides, row_code)).tolist())
        for r in sorted(changed | again | (waiting.keys() if self._waited is not self._said else frozenset())):
            i = int(decides[r])
            why = (plan.lines[i].source, self._reason(plan.lines[i], int(code[i]), now_ns)) if i >= 0 else None
            said = ("", None) if watched[r] else why or waiting.get(r) or ("", Blind.WARMING_UP)
            if self.coverage.why[r] != said or r in changed:
                self.coverage.why[r] = said
                if bound[r]:
                    out.watch.append(self.coverage.change(r, now_ns))
        self._said = self._waited
        missing = self._miss(plan, seen, blind & (code != _SILENT), last, now_ns, out)
        open_ = blind & (code != _SILENT)  # what is silent is announced as a whole (engine/ledger.py)
        # what was no fault until now begins now: who gets up, or takes a band from its charger, is not called for the hours before
        begun_ns = np.where(seen.at_ns != NEVER_NS, seen.at_ns, now_ns)
        begun_ns = np.where(last.since_ns == _NO_FAULT_NS, now_ns, np.where(last.since_ns != NEVER_NS, last.since_ns, begun_ns))
        since_ns = np.where(open_, np.where(_NO_FAULT[code], _NO_FAULT_NS, begun_ns), NEVER_NS)
        self._last = _Last(since_ns, missing, decides, row_code, self.ledger.changes)
        told = open_ & (~watched[plan.row] | (missing & _OF_SENSOR[code])) & ~_NO_FAULT[code]
        late = np.flatnonzero(told & (since_ns != _NO_FAULT_NS) & (now_ns - since_ns >= self._soonest_ns))
        if late.size or self._told:
            self._tell(plan, seen, {int(i): _REASONS[int(code[i])] for i in late}, since_ns, registry, devices, now_ns, out)

    # -- how --------------------------------------------------------------------------------------------------------

    def _waiting(self) -> dict[int, tuple[str, Blind | None]]:
        """Rows of devices that were not heard since they were bound."""
        found: dict[int, tuple[str, Blind | None]] = {}
        hazards: dict[tuple[str, ...], tuple[Hazard, ...]] = {}
        for device, row in self.ledger.waiting.items():
            if row.kinds not in hazards:
                declared = dict.fromkeys(signal.hazard for kind in row.kinds for signal in self._signals.get(kind, ()))
                # Of a door it is known that nothing is watched by it.
                hazards[row.kinds] = tuple(declared) or (() if row.kinds else (Hazard.DEVICE,))
            # Not before it has had its time: a wall on which each button that nobody needed yet is "not watched" is read by nobody.
            early = Blind.NEVER_HEARD if device in self.ledger.overdue else Blind.WARMING_UP
            why = (device, self.ledger.reason_of(device, early))
            for hazard in hazards[row.kinds]:
                found[self.coverage.row(row.subject, hazard)] = why
        return found

    def _codes(self, plan: Plan, seen: Seen, streams: Streams, now_ns: int) -> Int64:
        """Why each line would be blind, (n,), as a number in _REASONS; _SILENT: its stream is, and the ledger knows more."""
        table, last = self._judged.table, self._judged.last
        code = _OF_WHY[table[plan.stream, columns.WHY + plan.column]]
        bed = np.maximum(plan.bed, 0)
        empty = (plan.bed >= 0) & (last[bed, 0] < _IN_BED_MIN) & (now_ns - table[bed, columns.AT] <= self.limits.missing_ns)
        code[empty] = _EMPTY_BED
        for i, reason in seen.objections.items():
            code[i] = _REASONS.index(reason)
        if self.chargers.since:
            code[[i for i, line in enumerate(plan.lines) if self.chargers.lies(device_of(line.stream_source), now_ns)]] = _ON_CHARGER
        code[streams.silent[plan.stream]] = _SILENT
        return code

    def _reason(self, line: Line, code: int, now_ns: int) -> Blind:
        if code != _SILENT:
            reason: Blind = _REASONS[code]
            return reason
        lies = self.chargers.lies(device_of(line.stream_source), now_ns)
        return self.ledger.reason_of(line.stream_source, Blind.ON_CHARGER if lies else Blind.SILENT)

    def _other(self, last: _Last, decides: Int64, code: Int64) -> Bool:
        """Rows that are blind for another reason than at the last look, or may be."""
        found = decides >= 0
        if last.decides.shape == decides.shape:
            found &= (last.decides != decides) | (last.code != code) | ((code == _SILENT) & (last.changes != self.ledger.changes))
        return found

    def _miss(self, plan: Plan, seen: Seen, blind: Bool, last: _Last, now_ns: int, out: Outputs) -> Bool:
        """Tell the alerts that rest on it which data is missing, and no longer missing."""
        whole = np.zeros(int(plan.group.max()) + 1 if plan.lines else 0, np.bool_)
        whole[plan.group[seen.usable]] = True
        found: Bool = blind & ~whole[plan.group]
        if found.size and np.array_equal(found, last.missing):
            return found
        missing = {plan.lines[i].source: plan.lines[i].subject for i in np.flatnonzero(found)}
        for source, subject in self._missing.items():
            if source not in missing:
                out.data.append(DataChange(subject, source, False, now_ns))
        for source, subject in missing.items():
            if source not in self._missing:
                out.data.append(DataChange(subject, source, True, now_ns))
        self._missing = missing
        return found

    def _tell(
        self,
        plan: Plan,
        seen: Seen,
        reasons: dict[int, Blind],
        since_ns: Int64,
        registry: Registry,
        devices: Devices,
        now_ns: int,
        out: Outputs,
    ) -> None:
        """What is blind for too long: to the staff."""
        due: dict[int, Due] = {}
        for i, reason in reasons.items():
            line, begin_ns = plan.lines[i], int(since_ns[i])
            unwatched_ns = int(self.coverage.rows.since_ns[plan.row[i]])  # another device may have watched it so far
            if now_ns - max(begin_ns, unwatched_ns) >= self._limit_ns(registry, line.subject, line.signal.hazard):
                due[i] = Due(line.subject, reason, begin_ns)
        wanted = _gathered(plan, seen, due)
        for source in sorted(self._told - set(wanted)):
            self.ledger.measured(source, devices, now_ns, out)
        wards = Counter(registry.ward(device_of(source), now_ns) for source, one in wanted.items() if one.reason is Blind.INCOMPLETE)
        for source, one in wanted.items():
            ward = registry.ward(device_of(source), now_ns)
            together = Together(ward, one.onset_ns, wards[ward]) if one.reason is Blind.INCOMPLETE else None
            self.ledger.begin(source, one, now_ns, out, together)
        self._told = self.ledger.held = set(wanted)

    def _forget_plan(self) -> None:
        """The bindings change: what is remembered by line goes on by its name."""
        if self._plan is not None and self._last is not None:
            self._since = self._begun(self._plan, self._last)
        self._plan = self._last = None

    def _new_plan(self, devices: Devices) -> Plan:
        plan = planned(devices, self._signals, self.coverage)
        since_ns = np.array([self._since.get(line.source, NEVER_NS) for line in plan.lines], np.int64)
        self._last = _Last(since_ns, *_NOTHING, -1)
        return plan

    @staticmethod
    def _begun(plan: Plan, last: _Last) -> dict[str, int]:
        return {plan.lines[i].source: int(last.since_ns[i]) for i in np.flatnonzero(last.since_ns != NEVER_NS)}

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
        since = self._begun(self._plan, self._last) if self._plan is not None and self._last is not None else self._since
        return WatchingSaved(
            pack(self._judged),
            self._missing,
            since,
            sorted(self._told),
            self.coverage.save(),
            self.ledger.save(),
            self.continuity.save(),
            self._taken_out,
            self.chargers.since,
        )

    def load(self, saved: WatchingSaved, size: int) -> None:
        """Inverse of `save`, for `size` rows of the stream table; what was stored before there was a watch begins with none."""
        self._judged = unpack(initial_judged(0), saved.judged) if saved.judged else initial_judged(size)
        self._missing, self._since, self._told = dict(saved.missing), dict(saved.since), set(saved.told)
        self._taken_out = dict(saved.taken_out)
        self.coverage.load(saved.coverage)
        self.ledger.load(saved.ledger)
        self.ledger.held = self._told
        self.continuity.load(saved.continuity, size)
        self.chargers.since = dict(saved.chargers)
        self._waited = self._said = None
        self._plan = self._last = None


def _gathered(plan: Plan, seen: Seen, due: dict[int, Due]) -> dict[str, Due]:
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
