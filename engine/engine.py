"""The engine: blocks and ticks in; events, measurements and a closed account of every reading out.

Pure: what comes out depends on what went in, in that order, and on nothing else. The shells around it bring time
(arrival stamps and ticks) and carry the outputs away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import clocks, snapshot
from engine.accounts import Accounts
from engine.block import Block
from engine.clocks import NEVER_NS, AdmissionLimits
from engine.detector import Detector
from engine.devices import Devices
from engine.dispatch import Dispatcher
from engine.frame import NS_PER_S, Frame, Int32, Int64
from engine.intake import InstantIntake
from engine.kinds import KINDS, RATE_SINGLE_HZ_MAX
from engine.outputs import Account, Outputs, Reason, Reject
from engine.refusals import late, rejected
from engine.registry import Registry, RegistryData
from engine.reorder import HeldChunk, ReorderBuffer
from engine.rows import apart
from engine.scales import WATCHED, ScaleWatch
from engine.slots import Slots
from engine.snapshot import STATE_VERSION, EngineSnapshot
from engine.state import pack, unpack
from engine.watching import Watching

JUMP_NS: Final = 7 * 86_400 * NS_PER_S
"""A longer silence means that the clock was set (a box that booted in 1970) or the house was shut: its seconds are not ticked through."""
_CACHE_MAX: Final = 4096
_ALL_SAME: Final[Int64] = np.empty(0, np.int64)
"""Every chunk of the block covers the same time."""


class _Route(NamedTuple):
    """Where the rows of a block with these devices go; valid while no binding changes."""

    stream: Int64
    slot: Int32
    subjects: tuple[str, ...]


class Engine:
    """One engine per ward or partition.

    `detectors` and models alike; those that want features get them in the step in which they arise. Names must differ.
    """

    def __init__(
        self, detectors: Sequence[Detector[Any, Any]], registry: Registry | None = None, *, limits: AdmissionLimits | None = None
    ) -> None:
        self.limits = limits if limits is not None else AdmissionLimits()
        self.registry = registry if registry is not None else Registry()
        self.slots = Slots()
        self.devices = Devices(self.limits)
        self._dispatcher = Dispatcher(detectors, self.slots, self.registry)
        self.detectors = self._dispatcher.detectors
        self._routes: dict[tuple[str, tuple[str, ...]], _Route] = {}
        self._intake = InstantIntake(self.devices, self.slots, self._dispatcher, self.limits, self._new_slot)
        self._reorder = ReorderBuffer()
        self._accounts = Accounts()
        self._scales = ScaleWatch()
        self.watching = Watching(self.detectors)
        self._mark: NDArray[np.int64] = np.zeros(64, np.int64)
        self._stamp = 0
        self._last_tick_ns = NEVER_NS
        self.cold: list[str] = []
        """Detectors that did not fit the restored snapshot and started cold."""

    # -- input ------------------------------------------------------------------------------------------------------

    def step(self, block: Block, arrival_ns: int) -> Outputs:
        """Take a decoded block that reached Vigil at `arrival_ns` (UTC, never less than before).

        Runs the ticks that are due first. Every row ends as processed, duplicate, late, held (for `hold_ns` at most) or refused with a reason.
        """
        out = self.advance(arrival_ns)
        self.watching.chargers.note(block, self.registry, arrival_ns)
        scaled: Block | None = block
        if block.kind in WATCHED:
            route = self._route(block, arrival_ns, out)
            scaled, wrong = self._scales.sift(block, route.stream, self.devices.streams)
            for reject in wrong:
                self._refuse(reject, arrival_ns, out)
        if scaled is not None:
            self._admit(scaled, arrival_ns, out, release=False)
        self._accounts.count_no_value(block, self.devices.known)
        return out

    def refuse(self, rejects: Iterable[Reject], arrival_ns: int) -> Outputs:
        """Account for what the codec refused; the rejects come back in the outputs."""
        out = self.advance(arrival_ns)
        for reject in rejects:
            self._refuse(reject, arrival_ns, out)
        return out

    def _refuse(self, reject: Reject, arrival_ns: int, out: Outputs) -> None:
        device, kind = reject.device if reject.device in self.devices.known else "", reject.kind if reject.kind in KINDS else ""
        self._accounts.refuse(device, kind, reject.readings)
        if self.registry.knows(reject.device):
            self.watching.ledger.refused(reject.device, kind, reject.reason, arrival_ns)
        out.rejects.append(reject)

    def set_registry(self, data: RegistryData, arrival_ns: int) -> Outputs:
        """Replace the registry; raises ValueError (and changes nothing) when it contradicts itself or breaks a bound."""
        registry = self.registry.succeeded_by(data, arrival_ns, self.limits.past_ns)
        self._dispatcher.check_care(data.care)
        out = self.advance(arrival_ns)
        self.registry = self._dispatcher.registry = registry
        self._bind(range(len(self.devices.names)), arrival_ns, out, wanted=registry.here)
        self.watching.ledger.rebind(registry, self.devices, arrival_ns, out)
        self._dispatcher.apply_all_care()
        return out

    def advance(self, now_ns: int) -> Outputs:
        """Run every tick at a whole second in (last tick, now_ns]: the same ticks whoever calls it, and how often."""
        out = Outputs.empty()
        while (tick_ns := self.next_tick_ns(now_ns)) is not None:
            self._last_tick_ns = tick_ns
            self._tick(tick_ns, out)
        return out

    def next_tick_ns(self, now_ns: int) -> int | None:
        """The next tick due by `now_ns`, None when there is none. The first call sets the start of time."""
        if self._last_tick_ns == NEVER_NS:
            self._last_tick_ns = now_ns // NS_PER_S * NS_PER_S
            self._accounts.start(now_ns)
        if now_ns - self._last_tick_ns > JUMP_NS:
            self._last_tick_ns = now_ns // NS_PER_S * NS_PER_S - NS_PER_S
            self.watching.leap(now_ns)
        due = self._last_tick_ns + NS_PER_S
        return due if due <= now_ns else None

    # -- one block --------------------------------------------------------------------------------------------------

    def _admit(self, block: Block, arrival_ns: int, out: Outputs, *, release: bool) -> None:
        kind, samples = KINDS[block.kind], block.samples
        size, readings = samples.shape[:2]
        route = self._route(block, arrival_ns, out)
        if kind.timing == "irregular":
            for s in self._intake.take(block, route.stream, route.subjects, arrival_ns, out):
                self.watching.ledger.heard_again(self.devices, int(s), arrival_ns, out)
            return
        duration = _ALL_SAME
        if kind.timing == "interval":
            duration = np.maximum(np.nansum(samples[:, :, 0], axis=1).astype(np.int64) * 1_000_000, readings)
        start_ns, gap_ns = np.empty(size, np.int64), np.empty(size, np.int64)
        fate, valid = np.empty(size, np.uint8), np.empty(size, np.bool_)
        self._stamp += 1
        unusual = clocks.admit(
            self.devices.streams,
            route.stream,
            block.t0_ns,
            block.seq,
            block.quality,
            samples,
            int(readings / block.rate_hz * NS_PER_S) if block.rate_hz > 0.0 else 0,
            duration,
            readings,
            block.rate_hz,
            arrival_ns,
            kind.timing == "regular" and readings == 1 and block.rate_hz <= RATE_SINGLE_HZ_MAX,
            release,
            self.limits,
            self._mark,
            self._stamp,
            start_ns,
            gap_ns,
            fate,
            valid,
        )
        if unusual & clocks.HEARD_AGAIN:
            for s in self.devices.returned(route.stream, fate):
                self.watching.ledger.heard_again(self.devices, int(s), arrival_ns, out)
        if unusual & clocks.REFUSED:
            self._refuse_rows(block, route, fate, arrival_ns, out)
            keep = np.flatnonzero(fate == clocks.ACCEPTED)
            size = keep.size
            if size:
                route = _Route(route.stream[keep], route.slot[keep], tuple(route.subjects[i] for i in keep))
                start_ns, samples, gap_ns, valid = start_ns[keep], samples[keep], gap_ns[keep], valid[keep]
        if size:
            self.watching.take(block.kind, route.stream, samples, valid, block.rate_hz, arrival_ns)
            rate_hz = float(self.devices.streams.rate_hz[route.stream[0]])
            frame = Frame(block.kind, route.slot, start_ns, rate_hz, samples, gap_ns, valid, block.shape)
            if unusual & clocks.UNEVEN:
                for part, names, own_hz in apart(frame, route.subjects, self.devices.streams.rate_hz[route.stream]):
                    self._dispatcher.frame(part._replace(rate_hz=own_hz), names, arrival_ns, out)
            else:
                self._dispatcher.frame(frame, route.subjects, arrival_ns, out)
        if self._reorder.waiting and not release:
            for s in np.unique(route.stream):
                if int(s) in self._reorder.waiting:
                    self._release(int(s), arrival_ns, out, everything=self._reorder.full(int(s)))

    def _route(self, block: Block, arrival_ns: int, out: Outputs) -> _Route:
        key = (block.kind, block.devices)
        route = self._routes.get(key)
        if route is not None:
            return route
        devices = self.devices
        known = len(devices.names)
        index = np.array([devices.index(device, block.kind, bound=self.registry.knows(device)) for device in block.devices], np.int64)
        self._bind(range(known, len(devices.names)), arrival_ns, out)
        slot = devices.streams.slot[index]
        route = _Route(index, slot, tuple(self.slots.subjects[j] if j >= 0 else "" for j in slot))
        if len(self._routes) >= _CACHE_MAX:
            self._routes.clear()
        self._routes[key] = route
        return route

    # -- bindings ----------------------------------------------------------------------------------------------------

    def _bind(self, streams: Iterable[int], now_ns: int, out: Outputs, wanted: frozenset[str] | None = None) -> None:
        """Look up whom `streams` are about from `now_ns` on. All are detached before any is attached, so that a lane is free for its successor.

        `wanted`: whoever is not among these subjects has left the house and is forgotten.
        """
        changed = []
        for s in streams:
            device, kind = self.devices.names[s]
            subject = self.registry.subject(device, now_ns)
            before = self.devices.subject[s]
            self.devices.streams.edge_ns[s] = self.registry.valid_until(device, now_ns)
            if subject == before and (subject is None or self.devices.streams.slot[s] >= 0):
                continue
            if before is not None:
                self._detach(s, before, device, kind, now_ns, out)
            changed.append((s, subject))
        for subject in dict.fromkeys(self.slots.subjects):
            if subject and wanted is not None and subject not in wanted:
                self._dispatcher.forget(np.array(self.slots.drop(subject), np.int32))
        for s, subject in changed:
            self._attach(s, subject, now_ns)
        self.watching.bind(self.devices, [s for s, _ in changed])
        if changed:
            self._routes.clear()

    def _detach(self, s: int, subject: str, device: str, kind: str, now_ns: int, out: Outputs) -> None:
        """The stream is no longer about `subject`: release what was held and its lane, say so, end its silence."""
        self._release(s, now_ns, out, everything=True)
        self._dispatcher.unbind(subject, device, kind, now_ns, out)
        self.watching.ledger.heard_again(self.devices, s, now_ns, out)
        self.slots.release(subject, kind, device)

    def _attach(self, s: int, subject: str | None, now_ns: int) -> None:
        """The stream is about `subject` from now on; its state starts afresh."""
        device, kind = self.devices.names[s]
        streams = self.devices.streams
        edge_ns = int(streams.edge_ns[s])
        self.devices.restart(s, now_ns)
        streams.edge_ns[s] = edge_ns
        streams.since_ns[s] = self.registry.valid_since(device, now_ns)
        self.devices.subject[s] = subject
        assigned = self.slots.assign(subject, kind, device) if subject is not None else None
        if assigned is None or subject is None:
            return
        slot, new = assigned
        streams.slot[s] = slot
        if new:
            self._new_slot(slot, subject)

    def _new_slot(self, slot: int, subject: str) -> None:
        self._ensure_capacity()
        self._dispatcher.apply_care(slot, subject)

    def _ensure_capacity(self) -> None:
        capacity = self._mark.shape[0]
        while capacity < len(self.slots):
            capacity *= 2
        if capacity > self._mark.shape[0]:
            self._mark = np.zeros(capacity, np.int64)
            self._stamp = 0
        self._dispatcher.grow(capacity)

    def _refuse_rows(self, block: Block, route: _Route, fate: NDArray[np.uint8], arrival_ns: int, out: Outputs) -> None:
        """Rows that were not accepted: report them as late, hold them, or quarantine them."""
        readings = block.samples.shape[1]
        for i in np.flatnonzero(fate != clocks.ACCEPTED):
            outcome, device, s = int(fate[i]), block.devices[i], int(route.stream[i])
            if outcome == clocks.LATE:
                self.watching.ledger.refused(device, block.kind, Reason.LATE, arrival_ns)
                out.late.append(late(block, int(i), int(self.devices.streams.next_ns[s]), int(self.devices.streams.since_ns[s])))
            elif outcome == clocks.HELD:
                self._reorder.add(s, HeldChunk.row(block, int(i), arrival_ns))
            elif (reject := rejected(block, int(i), outcome, self.devices.subject[s], arrival_ns)) is not None:
                out.rejects.append(reject)
                if self.devices.subject[s] is not None:
                    self.watching.ledger.refused(device, block.kind, reject.reason, arrival_ns)
                if outcome == clocks.UNBOUND:
                    self.devices.saw_unbound(device, block.kind, readings, arrival_ns)

    def _release(self, s: int, arrival_ns: int, out: Outputs, *, everything: bool) -> None:
        """Feed the held chunks of stream `s` whose turn has come (all of them when they have waited long enough)."""
        while (chunk := self._reorder.pop(s, self.devices.streams, everything=everything)) is not None:
            self._admit(chunk.block(), arrival_ns, out, release=True)

    # -- time -------------------------------------------------------------------------------------------------------

    def _tick(self, now_ns: int, out: Outputs) -> None:
        if due := self.devices.due(now_ns):
            self._bind(due, now_ns, out)
        if self._reorder.waiting:
            for s in self._reorder.expired(now_ns, self.limits.hold_ns):
                self._release(s, now_ns, out, everything=True)
        self._dispatcher.tick(now_ns, out)
        self.watching.tick(self.registry, self.devices, now_ns, out)
        out.accounts.extend(self._accounts.close_hour(self.devices, now_ns))

    # -- accounts ---------------------------------------------------------------------------------------------------

    def accounts(self) -> list[Account]:
        """Where the readings of the current hour went, per device and kind; received = the sum of the others.

        Held chunks are counted when they are released. Readings refused before their device was known count under
        device "".
        """
        return self._accounts.of_hour(self.devices)

    def no_value(self) -> dict[tuple[str, str], int]:
        """Readings received in the current hour in which a device said "no value", by (device, kind); they stand in the accounts as well."""
        return dict(self._accounts.no_value)

    def totals(self) -> tuple[int, int, int, int]:
        """Readings since the beginning: processed, duplicate, late, quarantined."""
        return self._accounts.totals(self.devices)

    def exposure_s(self) -> dict[str, float]:
        """Seconds of data processed per subject (the longest of its streams)."""
        return self.devices.exposure_s()

    def held(self) -> int:
        """Chunks waiting for a predecessor."""
        return self._reorder.count()

    # -- snapshot ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything, so that a restored engine goes on as if never stopped."""
        saved = EngineSnapshot(
            STATE_VERSION,
            pack(self.devices.streams),
            self.devices.names,
            [subject if subject is not None else "" for subject in self.devices.subject],
            self.slots.save(),
            self.registry.data,
            self._reorder.save(),
            self._last_tick_ns,
            self._accounts.hour_ns,
            [(device, kind, count) for (device, kind), count in self._accounts.refused.items()],
            self._accounts.past,
            {d.spec.name: d.snapshot() for d in self.detectors},
            [(device, kind, count) for (device, kind), count in self._accounts.no_value.items()],
            self._scales.save(),
            self.registry.history.spans(),
            self._intake.instants.save(),
            self.watching.save(),
        )
        return snapshot.encode(saved, self.devices.save())

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot; ValueError when it does not fit this version.

        Bindings, streams and accounts are restored whatever detectors there are now; a detector that is new, or
        whose state has another version, starts cold and is named in `cold`.
        """
        saved, devices = snapshot.decode(data)
        self.devices.load(
            devices, saved.devices, [subject or None for subject in saved.subjects], unpack(self.devices.streams, saved.streams)
        )
        self.slots.load(saved.slots)
        self.registry = self._dispatcher.registry = Registry(saved.registry, saved.history)
        self._intake.instants.load(saved.instants)
        self._reorder.load(saved.held)
        self.watching.load(saved.watching, self.devices.streams.slot.shape[0])
        self._last_tick_ns, self._accounts.hour_ns = saved.last_tick_ns, saved.hour_ns
        self._accounts.refused = {(device, kind): count for device, kind, count in saved.refused}
        self._accounts.no_value = {(device, kind): count for device, kind, count in saved.no_value}
        self._accounts.past = saved.past
        self._scales.load(saved.scales)
        self.cold = []
        for detector in self.detectors:
            try:
                detector.restore(saved.detectors[detector.spec.name])
            except (KeyError, ValueError):
                self.cold.append(detector.spec.name)
        self._routes.clear()
        self._mark = np.zeros(64, np.int64)
        self._ensure_capacity()
        if self.cold:
            self._dispatcher.apply_all_care()
