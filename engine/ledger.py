"""The watch ledger: which bound devices are blind, since when, and why. Rows begin at the binding, not at the first chunk."""

from __future__ import annotations

from typing import Final

from engine.clocks import NEVER_NS
from engine.devices import Devices
from engine.events import Event, Phase, Priority, event_id
from engine.frame import NS_PER_S
from engine.kinds import KINDS
from engine.ledger_rows import Due, Fault, LedgerSaved, Quiet, Refusal, Together, Waiting, device_of
from engine.outage import JOIN_NS, REST_NS, REST_SHARE, TOGETHER_DEVICES, Outage, stopped_with
from engine.outage import event as outage_event
from engine.outage import untried as untried_event
from engine.outputs import DataChange, Outputs, Reason
from engine.registry import FOREVER_NS, Registry
from engine.technical import DEVICE_UNBOUND
from engine.watch import Blind, WatchLimits

_CLOCK: Final = dict.fromkeys((Reason.BAD_TIME, Reason.TIME_FUTURE, Reason.TIME_PAST, Reason.LATE), Blind.CLOCK_UNUSABLE)
_RATE: Final = dict.fromkeys((Reason.BAD_RATE, Reason.RATE_EXCEEDED), Blind.RATE_UNUSABLE)
_VALUES: Final = dict.fromkeys((Reason.BAD_UNIT, Reason.OUT_OF_RANGE, Reason.NON_FINITE), Blind.VALUES_UNUSABLE)
OF_REJECT: Final[dict[Reason, Blind]] = {**dict.fromkeys(Reason, Blind.REFUSED), **_CLOCK, **_RATE, **_VALUES}
"""The blindness that a reject is a sign of."""

REFUSALS_MAX: Final = 20_000
"""Refused streams of bound devices remembered; the oldest gives way."""


class Ledger:
    """Finds the devices that watch nobody although they are bound, and says so with the reason."""

    def __init__(self, limits: WatchLimits | None = None) -> None:
        self.limits = limits if limits is not None else WatchLimits()
        self.faults: dict[str, Fault] = {}
        self.waiting: dict[str, Waiting] = {}
        self._refusals: dict[tuple[str, str], Refusal] = {}
        self._outages: dict[str, Outage] = {}
        self._quiet: dict[str, Quiet] = {}
        self._away: dict[str, Quiet] = {}
        """Streams that are back, and were silent a short while ago."""
        self._untried: dict[str, int] = {}
        self.overdue: frozenset[str] = frozenset()
        """Buttons and the like that were not heard in the time they are given."""
        self.held: set[str] = set()
        """Sources that the watch holds to be blind (engine/watching.py): no reading that gets through ends that."""
        self._edge_ns = NEVER_NS
        self.changes = 0
        """Goes up with every change of who waits, or why; not part of the state."""

    # -- what happens -----------------------------------------------------------------------------------------------

    def rebind(self, registry: Registry, devices: Devices, now_ns: int, out: Outputs) -> None:
        """Look up what is bound from `now_ns` on; what is no longer about its subject is no longer blind about it."""
        self.changes += 1
        before, self.waiting = self.waiting, {}
        subjects = {device: registry.subject(device, now_ns) for device in registry.devices()}
        for device, subject in subjects.items():
            if subject is None or devices.heard(device, subject):
                continue
            row = before.get(device)
            self.waiting[device] = (
                row if row is not None and row.subject == subject else self._waiting(registry, devices, device, subject, now_ns)
            )
        for source, fault in list(self.faults.items()):
            if subjects.get(device_of(source)) != fault.subject:
                self.end(source, now_ns, out)
        for source in [source for source, row in self._quiet.items() if subjects.get(device_of(source)) != row.subject]:
            self.end(source, now_ns, out)
        self._away = {source: row for source, row in self._away.items() if subjects.get(device_of(source)) == row.subject}
        for key in [key for key in self._refusals if subjects.get(key[0]) is None]:
            del self._refusals[key]
        self._edge_ns = min((registry.valid_until(device, now_ns) for device in subjects), default=FOREVER_NS)

    def leap(self, now_ns: int) -> None:
        """The clock was set, or the house was shut: nobody waited for a device meanwhile."""
        for row in self.waiting.values():
            row.since_ns = now_ns
        for quiet in self._quiet.values():
            quiet.stopped_ns = now_ns

    def refused(self, device: str, kind: str, reason: Reason, now_ns: int) -> None:
        """Something of a bound device was refused. `kind` "": not one of those that are known."""
        if reason is Reason.INTERNAL:
            return  # our fault, not the device's
        row = self._refusals.get((device, kind))
        if row is None or now_ns - row.last_ns > self.limits.forget_ns:
            if len(self._refusals) >= REFUSALS_MAX:
                del self._refusals[next(iter(self._refusals))]
            self._refusals[(device, kind)] = Refusal(now_ns, now_ns, 1, reason)
            return
        row.last_ns, row.count, row.reason = now_ns, row.count + 1, reason

    def silent(
        self, registry: Registry, devices: Devices, s: int, now_ns: int, out: Outputs, limit_ns: int, *, expected: bool = False
    ) -> None:
        """Stream `s` gives nothing usable any more: it is silent, or all that it sends is refused. Who walks out of reach comes back: of one
        device that is silent somebody is told when that has lasted `limit_ns`. What rests on it is stale at once. `expected`: it has said that it would be."""
        subject = devices.subject[s]
        if subject is None:
            return
        device, kind = devices.names[s]
        row = self._refusals.get((device, kind))
        used_ns = int(devices.streams.arrival_ns[s])
        reason = OF_REJECT[row.reason] if row is not None and row.last_ns > (used_ns + now_ns) // 2 else Blind.SILENT
        ward = registry.ward(device, now_ns)
        count = 0 if expected or ward in self._outages else stopped_with(devices, registry, s, now_ns)
        source, onset_ns = f"{device}:{kind}", int(devices.silent_since_ns[s])
        joins = not expected and (
            count >= TOGETHER_DEVICES or (ward in self._outages and used_ns <= self._outages[ward].stopped_ns + JOIN_NS)
        )
        away = self._away.pop(source, None)
        stopped_ns = used_ns
        if away is not None and away.subject == subject and used_ns - away.back_ns < away.rest_ns(self.limits.missing_ns):
            stopped_ns = away.stopped_ns  # it was there for a moment: the silence is the one before
        if reason is Blind.SILENT and not joins and now_ns - stopped_ns < limit_ns and source not in self.faults:
            self._quiet[source] = Quiet(subject, onset_ns, stopped_ns, limit_ns)
            out.data.append(DataChange(subject, source, True, now_ns))
            return
        self.begin(source, Due(subject, reason, onset_ns), now_ns, out, Together(ward, used_ns, count))

    def heard_again(self, devices: Devices, s: int, now_ns: int, out: Outputs) -> None:
        """Stream `s` gives something usable again, or is no longer about its subject."""
        devices.streams.silent[s] = False
        device, kind = devices.names[s]
        source = f"{device}:{kind}"
        if (quiet := self._quiet.get(source)) is not None:
            quiet.back_ns = now_ns
            self._away[source] = quiet
        self.end(source, now_ns, out)

    def end(self, source: str, now_ns: int, out: Outputs) -> None:
        """`source` watches again, or is no longer bound to do so."""
        self.changes += 1
        if (quiet := self._quiet.pop(source, None)) is not None:
            out.data.append(DataChange(quiet.subject, source, False, now_ns))
        fault = self.faults.pop(source, None)
        if fault is not None and fault.ward:
            out.data.append(DataChange(fault.subject, source, False, now_ns))
        elif fault is not None:
            out.events.append(_event(source, fault, "clear", now_ns))

    def measured(self, source: str, devices: Devices, now_ns: int, out: Outputs) -> None:
        """The watch holds `source` to be blind no longer. If that is because nothing comes any more, its silence is what is announced now."""
        device = device_of(source)
        named = source[len(device) + 1 :]
        kind = named.partition(".")[0]
        if not self._is_silence(devices, device, kind):
            self.end(source, now_ns, out)
        elif named != kind:  # of a channel; what is said of the stream ends with its next chunk
            stream, fault = f"{device}:{kind}", self.faults.get(source)
            if fault is not None and stream not in self.faults:
                known = self._quiet.get(stream)
                due = Due(fault.subject, Blind.SILENT, fault.onset_ns if known is None else known.onset_ns)
                self.begin(stream, due, now_ns, out)
            self.end(source, now_ns, out)

    def follow(self, registry: Registry, devices: Devices, now_ns: int, out: Outputs) -> None:
        """A binding begins or ends."""
        if now_ns >= self._edge_ns:
            self.rebind(registry, devices, now_ns, out)

    def check(self, registry: Registry, devices: Devices, now_ns: int, out: Outputs) -> None:
        """Look over the devices that were not heard, and the refusals."""
        refused = self._check_refusals(registry, devices, now_ns, out)
        if self._away:
            missing_ns = self.limits.missing_ns
            self._away = {s: row for s, row in self._away.items() if now_ns - row.back_ns < 2 * row.rest_ns(missing_ns)}
        for source, quiet in list(self._quiet.items()):
            if now_ns - quiet.stopped_ns >= quiet.limit_ns:
                together = Together(registry.ward(device_of(source), now_ns), quiet.stopped_ns, 0)
                self.begin(source, Due(quiet.subject, Blind.SILENT, quiet.onset_ns), now_ns, out, together)
        never: dict[str, list[str]] = {}
        for device, row in list(self.waiting.items()):
            if device in devices.known and devices.heard(device, row.subject):
                del self.waiting[device]
                self.changes += 1
                self.end(device, now_ns, out)
            elif device in refused:
                if (fault := self.faults.get(device)) is not None and fault.reason is Blind.NEVER_HEARD:
                    self.end(device, now_ns, out)
            elif row.instants:
                continue
            elif now_ns - row.since_ns >= row.patience_ns and device not in self.faults:
                never.setdefault(registry.ward(device, now_ns), []).append(device)
        for ward, names in never.items():
            for device in names:
                row = self.waiting[device]
                due = Due(row.subject, Blind.NEVER_HEARD, row.since_ns)
                self.begin(device, due, now_ns, out, Together(ward, row.since_ns, len(names)))
        self._check_untried(registry, refused, now_ns, out)
        for ward in list(self._outages):
            self._check_outage(ward, now_ns, out)

    # -- how --------------------------------------------------------------------------------------------------------

    def _check_refusals(self, registry: Registry, devices: Devices, now_ns: int, out: Outputs) -> set[str]:
        """Announce kinds of which nothing but refusals came. Returns the devices that send something, if only to be refused."""
        found = set()
        alike: dict[tuple[str, Blind], set[str]] = {}
        for device, kind in self._refusals:
            subject = registry.subject(device, now_ns)
            if subject is not None and not devices.heard(device, subject, kind):
                reason = OF_REJECT[self._refusals[(device, kind)].reason]
                alike.setdefault((registry.ward(device, now_ns), reason), set()).add(device)
        for (device, kind), row in list(self._refusals.items()):
            subject = registry.subject(device, now_ns)
            source = f"{device}:{kind}" if kind else device
            if subject is None or now_ns - row.last_ns > self.limits.forget_ns:
                del self._refusals[(device, kind)]
                if source in self.faults and source not in self.held and not self._is_silence(devices, device, kind):
                    self.end(source, now_ns, out)
                continue
            if devices.heard(device, subject, kind):
                recent = now_ns - row.last_ns <= self.limits.refused_ns
                if self._is_silence(devices, device, kind):
                    if recent and (known := self.faults.get(source) or self._quiet.get(source)) is not None:
                        self.begin(source, Due(subject, OF_REJECT[row.reason], known.onset_ns), now_ns, out)
                    continue
                if source not in self.held:
                    self.end(source, now_ns, out)
                if not recent:
                    del self._refusals[(device, kind)]
                continue
            found.add(device)
            if row.count > 1 and now_ns - row.first_ns >= self.limits.refused_ns:
                reason, ward = OF_REJECT[row.reason], registry.ward(device, now_ns)
                together = Together(ward, row.first_ns, len(alike[(ward, reason)]))
                self.begin(source, Due(subject, reason, row.first_ns), now_ns, out, together)
        return found

    def _is_silence(self, devices: Devices, device: str, kind: str) -> bool:
        """Whether the stream is marked as silent: then its end is seen at its next chunk."""
        s = devices.find(device, kind)
        return s is not None and bool(devices.streams.silent[s])

    def _waiting(self, registry: Registry, devices: Devices, device: str, subject: str, now_ns: int) -> Waiting:
        """What the binding declares, else what the device was ever met with: a pendant that is given to somebody else is known to be a button. Of
        a device that is quite unknown the ten minutes of a sensor are waited for: a day without a fall sensor costs more than one press."""
        binding = registry.binding(device, now_ns)
        kinds = (binding.kinds if binding is not None else ()) or tuple(sorted(devices.kinds(device)))
        instants = bool(kinds) and all(KINDS[kind].timing == "irregular" for kind in kinds if kind in KINDS)
        return Waiting(subject, now_ns, self.limits.event_only_ns if instants else self.limits.never_heard_ns, kinds, instants)

    def reason_of(self, source: str, otherwise: Blind) -> Blind:
        """Why `source` is blind, as announced."""
        fault = self.faults.get(source)
        return otherwise if fault is None else fault.reason

    def begin(self, source: str, due: Due, now_ns: int, out: Outputs, together: Together | None = None) -> None:
        """Announce, once; anew when more is known than that nothing comes. What stopped with many others is announced with them."""
        before = self.faults.get(source)
        self.changes += before is None or before.reason != due.reason
        if before is not None:
            if before.subject == due.subject and before.reason in {due.reason, *OF_REJECT.values()}:
                return
            if before.subject == due.subject and before.ward:
                self.faults[source] = Fault(due.subject, due.reason, before.onset_ns, before.ward)
                return
            self.end(source, now_ns, out)
        outage = self._outages.get(together.ward) if together is not None else None
        if outage is None and together is not None and together.devices >= TOGETHER_DEVICES:
            outage = Outage(together.stopped_ns, due.reason is Blind.CLOCK_UNUSABLE, together.devices)
            self._outages[together.ward] = outage
            out.events.append(outage_event(together.ward, outage, "onset", now_ns))
        quiet = self._quiet.pop(source, None)
        if outage is not None and together is not None and together.stopped_ns <= outage.stopped_ns + JOIN_NS:
            self.faults[source] = Fault(due.subject, due.reason, due.onset_ns, together.ward)
            if quiet is None:
                out.data.append(DataChange(due.subject, source, True, now_ns))
            return
        fault = self.faults[source] = Fault(due.subject, due.reason, due.onset_ns)
        out.events.append(_event(source, fault, "onset", now_ns))
        if quiet is not None:  # after the event, which keeps stale what was stale
            out.data.append(DataChange(quiet.subject, source, False, now_ns))

    def _check_untried(self, registry: Registry, refused: set[str], now_ns: int, out: Outputs) -> None:
        """Buttons and the like that were never heard: one reminder for a ward, for most of them were never needed."""
        overdue: dict[str, int] = {}
        late: set[str] = set()
        added: set[str] = set()
        for device, row in self.waiting.items():
            if row.instants and device not in refused and now_ns - row.since_ns >= row.patience_ns:
                ward = registry.ward(device, now_ns)
                overdue[ward] = overdue.get(ward, 0) + 1
                late.add(device)
                if ward in self._untried and row.since_ns + row.patience_ns > self._untried[ward]:
                    added.add(ward)  # one more than the reminder knows of
        if self.overdue != late:
            self.overdue = frozenset(late)
            self.changes += 1
        for ward in sorted(added):
            out.events.append(untried_event(ward, self._untried.pop(ward), 0, "clear", now_ns))
        for ward in sorted(overdue.keys() - self._untried.keys()):
            self._untried[ward] = now_ns
            out.events.append(untried_event(ward, now_ns, overdue[ward], "onset", now_ns))
        for ward in sorted(self._untried.keys() - overdue.keys()):
            out.events.append(untried_event(ward, self._untried.pop(ward), 0, "clear", now_ns))

    def _check_outage(self, ward: str, now_ns: int, out: Outputs) -> None:
        """Whether it is over, or of another sort than it seemed."""
        outage = self._outages[ward]
        members = {source: fault for source, fault in self.faults.items() if fault.ward == ward}
        names = {device_of(source) for source in members}
        outage.devices = max(outage.devices, len(names))
        clock = 2 * sum(fault.reason is Blind.CLOCK_UNUSABLE for fault in members.values()) > len(members)
        few = len(names) <= REST_SHARE * outage.devices
        if few and outage.most_back_ns == NEVER_NS:
            outage.most_back_ns = now_ns
        elif not few:
            outage.most_back_ns = NEVER_NS
        if members and not (few and now_ns - outage.most_back_ns >= REST_NS):
            if clock and not outage.clock:
                out.events.append(outage_event(ward, outage, "clear", now_ns))
                outage.clock = True
                out.events.append(outage_event(ward, outage, "onset", now_ns))
            return
        out.events.append(outage_event(ward, outage, "clear", now_ns))
        del self._outages[ward]
        for source, fault in members.items():
            self.end(source, now_ns, out)
            self.begin(source, Due(fault.subject, fault.reason, fault.onset_ns), now_ns, out)

    # -- snapshot ---------------------------------------------------------------------------------------------------

    def save(self) -> LedgerSaved:
        """For the snapshot."""
        refusals = [(device, kind, row) for (device, kind), row in self._refusals.items()]
        return LedgerSaved(self._edge_ns, self.faults, self.waiting, refusals, self._outages, self._quiet, self._untried, self._away)

    def load(self, saved: LedgerSaved) -> None:
        """Inverse of `save`."""
        self._edge_ns, self.faults, self.waiting = saved.edge_ns, dict(saved.faults), dict(saved.waiting)
        self._refusals = {(device, kind): row for device, kind, row in saved.refusals}
        self._outages = dict(saved.outages)
        self._quiet, self._untried, self._away = dict(saved.quiet), dict(saved.untried), dict(saved.away)


def _event(source: str, fault: Fault, phase: Phase, now_ns: int) -> Event:
    code = f"device.{fault.reason}"
    device = device_of(source)
    named = device if device == source else f"{device}\x1f{source[len(device) + 1 :]}"
    named = f"{named}\x1f{now_ns}"  # the same blindness may end and be announced again: that is another event
    identity = event_id("device", code, fault.subject, fault.onset_ns, phase, named)
    values = {"last_sample_s": round((now_ns - fault.onset_ns) / NS_PER_S, 3)}
    return Event(identity, "device", code, fault.subject, phase, int(Priority.LOW), fault.onset_ns, now_ns, now_ns, 1.0, values, source)


def device_unbound(subject: str, device: str, kind: str, now_ns: int) -> Event:
    """The fact that `device` is no longer about `subject` from `now_ns` on."""
    about = f"{device}:{kind}"
    identity = event_id("device", DEVICE_UNBOUND, subject, now_ns, "onset", about)
    return Event(identity, "device", DEVICE_UNBOUND, subject, "onset", int(Priority.INFORMATION), now_ns, now_ns, now_ns, 1.0, {}, about)
