"""Which device watches whom, where, and from when to when.

The registry knows pseudonyms only. Names live in the identity file, which is read where an alert is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property, partial
from itertools import pairwise
from typing import Final, Literal

import msgspec

from engine.history import History, Span, Told, past_of

SubjectType = Literal["resident", "bed", "room"]

FOREVER_NS: Final = 2**63 - 1


class Binding(msgspec.Struct, frozen=True, omit_defaults=True):
    """`device` reports about `subject` during [from_ns, to_ns).

    `subject` is "resident/<id>", "bed/<id>" or "room/<id>". A device bound to a bed reports about whoever is assigned
    to that bed (Assignment); while nobody is, about the bed itself. `site` says where it sits ("wrist", "waist",
    "chest", "mattress", "ceiling", ...). `kinds`, if known, says what it sends: a call button that nobody has pressed
    yet is then not taken for a device that does not work.
    """

    device: str
    subject: str
    ward: str
    site: str = ""
    from_ns: int = 0
    to_ns: int = FOREVER_NS
    kinds: tuple[str, ...] = ()


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """`resident` lies in `bed` during [from_ns, to_ns)."""

    resident: str
    bed: str
    from_ns: int = 0
    to_ns: int = FOREVER_NS


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a bed or a resident belongs: subject -> room -> ward ("facility/ward")."""

    subject: str
    room: str
    ward: str


class CareSetting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A per-resident parameter: `detector`.`field` = `value` for `subject` (None: the default again)."""

    subject: str
    detector: str
    field: str
    value: float | None


class RegistryData(msgspec.Struct, frozen=True, omit_defaults=True):
    """The registry as stored (registry.json) and journaled: everything the engine needs to know about who is where."""

    version: int = 1
    bindings: tuple[Binding, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    places: tuple[Place, ...] = ()
    care: tuple[CareSetting, ...] = ()


def _overlaps(spans: list[tuple[int, int]]) -> bool:
    return any(late[0] < early[1] for early, late in pairwise(spans))


class Registry:
    """Answers "about whom was `device` at `t_ns`" in O(log bindings of that device).

    `history` is what earlier registries said and this one says no longer (`succeeded_by`); it counts before this registry's own word.

    Raises ValueError on construction when two bindings of one device, or two assignments of one bed or one resident,
    overlap in time, or when a subject is not "<type>/<id>".
    """

    def __init__(self, data: RegistryData | None = None, history: Iterable[Span] = ()) -> None:
        self.data = data if data is not None else RegistryData()
        self.history = History(history)
        self._bindings: dict[str, list[Binding]] = {}
        self._beds: dict[str, list[Assignment]] = {}
        self.place: dict[str, Place] = {place.subject: place for place in self.data.places}
        self.care: dict[str, list[CareSetting]] = {}
        for setting in self.data.care:
            self.care.setdefault(setting.subject, []).append(setting)
        for binding in sorted(self.data.bindings, key=lambda b: b.from_ns):
            kind, _, name = binding.subject.partition("/")
            if kind not in {"resident", "bed", "room"} or not name:
                raise ValueError(f"subject {binding.subject!r} of device {binding.device} must be resident/<id>, bed/<id> or room/<id>")
            self._bindings.setdefault(binding.device, []).append(binding)
        for assignment in sorted(self.data.assignments, key=lambda a: a.from_ns):
            self._beds.setdefault(assignment.bed, []).append(assignment)
        for device, entries in self._bindings.items():
            if _overlaps([(b.from_ns, b.to_ns) for b in entries]):
                raise ValueError(f"device {device} is bound twice at one time: end the old binding (to_ns) before the new one starts")
        for bed, stays in self._beds.items():
            if _overlaps([(a.from_ns, a.to_ns) for a in stays]):
                raise ValueError(f"bed {bed} has two residents at one time: end the old assignment (to_ns) before the new one starts")
        by_resident: dict[str, list[tuple[int, int]]] = {}
        for assignment in sorted(self.data.assignments, key=lambda a: a.from_ns):
            by_resident.setdefault(assignment.resident, []).append((assignment.from_ns, assignment.to_ns))
        for resident, spans in by_resident.items():
            if _overlaps(spans):
                raise ValueError(
                    f"resident {resident} lies in two beds at one time: end the old assignment (to_ns) before the new one starts"
                )

    def devices(self) -> Iterable[str]:
        """Every device that is, was or will be bound."""
        return self._bindings

    def knows(self, device: str) -> bool:
        """Whether `device` is, was or will be bound."""
        return device in self._bindings or device in self.history

    @cached_property
    def here(self) -> frozenset[str]:
        """Everybody and everything that the registry names."""
        data = self.data
        named = {b.subject for b in data.bindings} | {a.resident for a in data.assignments} | {a.bed for a in data.assignments}
        return frozenset(named | {place.subject for place in data.places})

    def binding(self, device: str, t_ns: int) -> Binding | None:
        """The binding of `device` at `t_ns`, or None."""
        entries = self._bindings.get(device)
        if not entries:
            return None
        index = bisect_right([b.from_ns for b in entries], t_ns) - 1
        return entries[index] if index >= 0 and t_ns < entries[index].to_ns else None

    def subject(self, device: str, t_ns: int) -> str | None:
        """The subject `device` reports about at `t_ns`: the bed's resident for a bed device; None when unbound."""
        span = self.history.at(device, t_ns)
        if span is not None:
            return span.subject or None
        return self._said(device, t_ns)

    def ward(self, device: str, t_ns: int) -> str:
        """The ward that `device` belonged to at `t_ns`; where it was bound to nobody then, the one before, else the first one after."""
        span = self.history.at(device, t_ns)
        if span is not None and span.ward:
            return span.ward
        entries = self._bindings.get(device, [])
        found = [b.ward for b in entries if b.from_ns <= t_ns] or [b.ward for b in reversed(entries)]
        found = found or [span.ward for span in self.history.of(device)]
        return found[-1] if found else ""

    def succeeded_by(self, data: RegistryData, now_ns: int, keep_ns: int) -> Registry:
        """The registry `data` in force from `now_ns` on, with what this one said of the last `keep_ns`.

        An entry of `data` with a beginning of its own counts from that on; one without, or whose subject was exchanged in place, from now on.
        """
        begin_ns = now_ns - keep_ns
        new = Registry(data, self.history.pruned(begin_ns).spans())
        for device in dict.fromkeys((*self._bindings, *self.history)):
            if self._rows(device) != new._rows(device):
                edges = [*self._edges_of_rows(device), *self.history.edges(device), *new._edges_of_rows(device)]
                spans = past_of(device, edges, (begin_ns, now_ns), partial(new._told, device, self), partial(self._was, device))
                new.history.replace(device, spans)
        return new

    def _rows(self, device: str) -> tuple[list[Binding], list[list[Assignment]]]:
        """All that decides about whom `device` is."""
        bindings = self._bindings.get(device, [])
        return bindings, [self._beds.get(b.subject, []) for b in bindings if b.subject.startswith("bed/")]

    def _edges_of_rows(self, device: str) -> list[int]:
        bindings, beds = self._rows(device)
        edges = [edge for binding in bindings for edge in (binding.from_ns, binding.to_ns)]
        return edges + [edge for stays in beds for stay in stays for edge in (stay.from_ns, stay.to_ns)]

    def _was(self, device: str, t_ns: int) -> Told:
        return Told(self.subject(device, t_ns) or "", self.ward(device, t_ns), True)

    def _told(self, device: str, before: Registry, t_ns: int) -> Told:
        """What this registry says of `device` at `t_ns`, and whether it dates it: an entry that began then under another subject in the
        registry `before` was written over, and says nothing about the past."""
        subject, ward = self._said(device, t_ns) or "", self.ward(device, t_ns)
        entries = self._bindings.get(device, [])
        index = bisect_right([b.from_ns for b in entries], t_ns) - 1
        if index < 0:
            return Told(subject, ward, False)
        binding = entries[index]
        if t_ns >= binding.to_ns:
            return Told(subject, ward, True)
        dated = binding.from_ns > 0 and not any(
            b.from_ns == binding.from_ns and b.subject != binding.subject for b in before._bindings.get(device, [])
        )
        if binding.subject.startswith("bed/") and not dated:
            stays, old = self._beds.get(binding.subject, []), before._beds.get(binding.subject, [])
            own = next((a for a in stays if a.from_ns <= t_ns < a.to_ns), None)
            dated = own is not None and own.from_ns > 0 and not any(a.from_ns == own.from_ns and a.resident != own.resident for a in old)
        return Told(subject, ward, dated)

    def _said(self, device: str, t_ns: int) -> str | None:
        binding = self.binding(device, t_ns)
        if binding is None:
            return None
        if not binding.subject.startswith("bed/"):
            return binding.subject
        return self.resident_of(binding.subject, t_ns) or binding.subject

    def resident_of(self, bed: str, t_ns: int) -> str | None:
        """Who lies in `bed` at `t_ns`."""
        stays = self._beds.get(bed)
        if not stays:
            return None
        index = bisect_right([a.from_ns for a in stays], t_ns) - 1
        return stays[index].resident if index >= 0 and t_ns < stays[index].to_ns else None

    def _edges(self, device: str, t_ns: int) -> list[int]:
        edges = [edge for b in self._bindings.get(device, []) for edge in (b.from_ns, b.to_ns)] + self.history.edges(device)
        binding = self.binding(device, t_ns)
        if binding is not None and binding.subject.startswith("bed/"):
            edges += [edge for a in self._beds.get(binding.subject, []) for edge in (a.from_ns, a.to_ns)]
        return edges

    def valid_until(self, device: str, t_ns: int) -> int:
        """The first instant after `t_ns` at which `subject(device, ...)` may change."""
        return min((edge for edge in self._edges(device, t_ns) if edge > t_ns), default=FOREVER_NS)

    def valid_since(self, device: str, t_ns: int) -> int:
        """The last instant up to `t_ns` at which `subject(device, ...)` may have changed."""
        return max((edge for edge in self._edges(device, t_ns) if edge <= t_ns), default=-FOREVER_NS)
