"""Takes reports of a moment (a press, a door, a position) and gives each to whom it belongs: whoever had the device when it was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.block import Block
from engine.clocks import ACCEPTED, HEARD_AGAIN, REFUSED, UNBOUND, UNEVEN, AdmissionLimits
from engine.devices import Devices
from engine.dispatch import Dispatcher
from engine.events import Event, event_id
from engine.frame import NS_PER_S, Frame, Int64
from engine.instants import EARLIER, Admitted, Instants, is_call
from engine.outputs import Outputs, Reason, Reject
from engine.refusals import rejected
from engine.slots import Slots
from engine.technical import CALL_UNATTRIBUTED

_PROCESSED: Final = 0
_LATE: Final = 2
_QUARANTINED: Final = 3
"""Columns of `Streams.counts`."""

TIME_UNKNOWN: Final = {"time_unknown": 1.0}
"""Values of an event whose device time tells nothing: it counts for the present wearer, at its arrival."""
WARD_UNKNOWN: Final = "unknown"


class InstantIntake:
    """Admission, attribution and dispatch of instants. `make_room`: a slot was added."""

    def __init__(
        self, devices: Devices, slots: Slots, dispatcher: Dispatcher, limits: AdmissionLimits, make_room: Callable[[int, str], None]
    ) -> None:
        self.instants = Instants()
        self._devices = devices
        self._slots = slots
        self._dispatcher = dispatcher
        self._limits = limits
        self._make_room = make_room

    def take(self, block: Block, stream: Int64, subjects: tuple[str, ...], arrival_ns: int, out: Outputs) -> Int64:
        """Give every report of `block` to whom it belongs; returns the streams that were silent and are heard again."""
        streams = self._devices.streams
        calls = is_call(block.kind, block.samples)
        slot = streams.slot[stream]
        wanted = calls & (slot < 0)  # of a device that is bound to nobody, but was
        for i in np.flatnonzero(wanted).tolist():
            wanted[i] = self._dispatcher.registry.knows(block.devices[i])
        found = self.instants.admit(streams, block, stream, calls, wanted, arrival_ns, self._limits)
        back = self._devices.returned(stream, found.fate) if found.unusual & HEARD_AGAIN else stream[:0]
        if not found.unusual & (REFUSED | UNEVEN) and len(set(block.devices)) == len(block.devices):
            frame = Frame(block.kind, slot, found.start_ns, 0.0, block.samples, found.gap_ns, found.valid, block.shape, arrival_ns)
            self._dispatcher.frame(frame, subjects, arrival_ns, out)
            return back
        for i, fate in enumerate(found.fate.tolist()):
            if fate == ACCEPTED:
                self._give(block, i, found, (int(slot[i]), subjects[i]), TIME_UNKNOWN if found.unknown[i] else {}, arrival_ns, out)
            elif fate in (EARLIER, UNBOUND):
                self._find_owner(block, i, found, int(stream[i]), bool(calls[i]), arrival_ns, out)
            elif (reject := rejected(block, i, fate, self._devices.subject[int(stream[i])], arrival_ns)) is not None:
                out.rejects.append(reject)
        return back

    def _give(
        self, block: Block, i: int, found: Admitted, to: tuple[int, str], values: dict[str, float], arrival_ns: int, out: Outputs
    ) -> None:
        row = slice(i, i + 1)
        slot, subject = to
        frame = Frame(
            block.kind, np.array([slot], np.int32), found.start_ns[row], 0.0, block.samples[row], found.gap_ns[row], found.valid[row],
            block.shape, arrival_ns,
        )  # fmt: skip
        self._dispatcher.frame(frame, (subject,), arrival_ns, out, values)

    def _find_owner(self, block: Block, i: int, found: Admitted, s: int, call: bool, arrival_ns: int, out: Outputs) -> None:
        """A report that does not belong to the present wearer: to whoever had the device then, else to nobody, and then a call is the ward's."""
        registry, device, counts = self._dispatcher.registry, block.devices[i], self._devices.streams.counts[s]
        t_ns = int(found.start_ns[i])
        subject = registry.subject(device, int(found.owned_ns[i]))
        elsewhere = found.fate[i] == EARLIER or call or subject != self._devices.subject[s]  # else it has no lane (engine/slots.py)
        if subject is not None and subject in registry.here and elsewhere:
            counts[_PROCESSED] += 1
            values = TIME_UNKNOWN if found.unknown[i] else {"measured_ago_s": round((arrival_ns - t_ns) / NS_PER_S, 3)}
            self._give(block, i, found, (self._slot_of(subject, block.kind, device), subject), values, arrival_ns, out)
            return
        if call and registry.knows(device):
            out.events.append(
                self._unattributed(
                    device, block.kind, registry.ward(device, int(found.owned_ns[i])), t_ns, bool(found.unknown[i]), arrival_ns
                )
            )
        if found.fate[i] == UNBOUND:
            counts[_QUARANTINED] += 1
            if (reject := rejected(block, i, UNBOUND, self._devices.subject[s], arrival_ns)) is not None:
                out.rejects.append(reject)
            self._devices.saw_unbound(device, block.kind, 1, arrival_ns)
            return
        counts[_LATE] += 1
        then = f"{subject}, whom the registry names no longer" if subject is not None else "nobody"
        why = f"measured before the device was bound to its present wearer; it was bound to {then}"
        out.rejects.append(Reject(Reason.LATE, why, device, block.kind, 1, block.samples[i].tobytes()))

    def _slot_of(self, subject: str, kind: str, device: str) -> int:
        """A slot of `subject` for one report of a device that is not bound to them now; the lane stays free."""
        assigned = self._slots.assign(subject, kind, device)
        if assigned is None:
            return self._slots.of(subject)[0]
        slot, new = assigned
        self._slots.release(subject, kind, device)
        if new:
            self._make_room(slot, subject)
        return slot

    def _unattributed(self, device: str, kind: str, ward: str, t_ns: int, unknown: bool, arrival_ns: int) -> Event:
        code, subject, about = CALL_UNATTRIBUTED.code, f"ward/{ward or WARD_UNKNOWN}", f"{device}:{kind}"
        identity = event_id("device", code, subject, t_ns, "onset", about)
        values = TIME_UNKNOWN if unknown else {"measured_ago_s": round((arrival_ns - t_ns) / NS_PER_S, 3)}
        return Event(
            identity, "device", code, subject, "onset", int(CALL_UNATTRIBUTED.priority), t_ns, t_ns, arrival_ns, 1.0, dict(values), about
        )
