"""The engine: blocks and ticks in; events, measurements and a closed account of every reading out.

Pure: what comes out depends on what went in, in that order, and on nothing else. The shells around it bring time
(arrival stamps and ticks) and carry the outputs away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine import clocks
from engine.block import Block
from engine.clocks import NEVER_NS, Limits
from engine.detector import Detector, StepResult
from engine.devices import Devices
from engine.events import Detection, Event, EventType, event_id
from engine.frame import NS_PER_S, Frame, Int32, Int64
from engine.held import Held
from engine.kinds import KINDS, STORED_KINDS
from engine.outputs import Account, Late, Outputs, Reason, Reject
from engine.registry import Registry, RegistryData
from engine.rows import apart, measured
from engine.slots import Slots, SlotsSaved
from engine.state import pack, unpack
from engine.technical import DEVICE_SILENT

JUMP_NS: Final = 7 * 86_400 * NS_PER_S
"""A longer silence is a clock that was set (a box that booted in 1970), or a house that was shut: its seconds are not ticked through."""
_CACHE_MAX: Final = 4096
_ALL_SAME: Final[Int64] = np.empty(0, np.int64)
"""Every chunk of the block covers the same time."""
_FATES: Final = {
    clocks.FUTURE: (Reason.TIME_FUTURE, "t0_ns is {ahead:.0f} s ahead of arrival: set the device clock (NTP), UTC nanoseconds"),
    clocks.PAST: (
        Reason.TIME_PAST,
        "t0_ns is {behind:.0f} s before arrival, more than is taken: set the device clock (NTP), UTC nanoseconds",
    ),
    clocks.UNBOUND: (Reason.UNKNOWN_DEVICE, "this device is bound to nobody at t0_ns: bind it in the registry"),
    clocks.FLOOD: (
        Reason.RATE_EXCEEDED,
        "repeats, late chunks or single events far above the device's rate: send each chunk once, in order",
    ),
}


class _Route(NamedTuple):
    """Where the rows of a block with these devices go; valid while no binding changes."""

    stream: Int64
    slot: Int32
    subjects: tuple[str, ...]


class EngineSaved(msgspec.Struct, array_like=True):
    """An engine as stored."""

    version: int
    streams: bytes
    devices: list[tuple[str, str]]
    subjects: list[str]
    slots: SlotsSaved
    registry: RegistryData
    held: list[tuple[int, Held]]
    last_tick_ns: int
    hour_ns: int
    refused: list[tuple[str, str, int]]
    past: list[int]
    detectors: dict[str, bytes]


STATE_VERSION: Final = 1


class Engine:
    """One engine per ward or partition.

    `detectors` and models alike; those that want features get them in the step in which they arise. Names must differ.
    """

    def __init__(self, detectors: Sequence[Detector[Any, Any]], registry: Registry | None = None, *, limits: Limits | None = None) -> None:
        self.detectors = tuple(detectors)
        names = [d.spec.name for d in self.detectors]
        if len(set(names)) != len(names):
            raise ValueError(f"detector names must differ, got {names}")
        self.limits = limits if limits is not None else Limits()
        self.registry = registry if registry is not None else Registry()
        self.slots = Slots()
        self.devices = Devices(self.limits)
        self._by_kind: dict[str, list[Detector[Any, Any]]] = {}
        self._columns: dict[str, tuple[str, ...]] = {kind: tuple(c.name for c in KINDS[kind].channels) for kind in STORED_KINDS}
        self._types: dict[str, EventType] = {}
        for detector in self.detectors:
            for kind in detector.spec.kinds:
                self._by_kind.setdefault(kind, []).append(detector)
            self._columns.update(detector.spec.features)
            self._types.update({event.code: event for event in detector.spec.events})
        self._routes: dict[tuple[str, tuple[str, ...]], _Route] = {}
        self._held: dict[int, list[Held]] = {}
        self._mark: NDArray[np.int64] = np.zeros(64, np.int64)
        self._stamp = 0
        self._last_tick_ns = NEVER_NS
        self._hour_ns = NEVER_NS
        self._refused: dict[tuple[str, str], int] = {}
        self._past = [0, 0, 0, 0]
        self.cold: list[str] = []
        """Detectors that did not fit the restored snapshot and started cold."""

    # -- input ------------------------------------------------------------------------------------------------------

    def step(self, block: Block, arrival_ns: int) -> Outputs:
        """Take a decoded block that reached Vigil at `arrival_ns` (UTC, never less than before).

        Runs the ticks that are due first. Every row ends as processed, duplicate, late, held (until its predecessor
        comes or `hold_ns` passes) or refused with a reason.
        """
        out = self.advance(arrival_ns)
        self._take(block, arrival_ns, out, release=False)
        return out

    def refuse(self, rejects: Iterable[Reject], arrival_ns: int) -> Outputs:
        """Account for what the codec refused; the rejects come back in the outputs."""
        out = self.advance(arrival_ns)
        for reject in rejects:
            key = (reject.device if reject.device in self.devices.known else "", reject.kind if reject.kind in KINDS else "")
            self._refused[key] = self._refused.get(key, 0) + reject.readings
            out.rejects.append(reject)
        return out

    def set_registry(self, data: RegistryData, arrival_ns: int) -> Outputs:
        """Replace the registry; raises ValueError (and changes nothing) when it contradicts itself or breaks a bound."""
        registry = Registry(data)
        by_name = {d.spec.name: d for d in self.detectors}
        for setting in data.care:
            target = by_name.get(setting.detector)
            if target is None:
                raise ValueError(f"care setting for unknown detector {setting.detector!r}; there are {sorted(by_name)}")
            target.check_override(setting.field, setting.value)
        out = self.advance(arrival_ns)
        self.registry = registry
        self._bind(
            range(len(self.devices.names)),
            arrival_ns,
            out,
            wanted={b.subject for b in data.bindings} | {a.resident for a in data.assignments},
        )
        for slot, subject in enumerate(self.slots.subjects):
            if subject:
                self._apply_care(slot, subject)
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
            self._hour_ns = _hour(now_ns)
        if now_ns - self._last_tick_ns > JUMP_NS:
            self._last_tick_ns = now_ns // NS_PER_S * NS_PER_S - NS_PER_S
        due = self._last_tick_ns + NS_PER_S
        return due if due <= now_ns else None

    # -- one block --------------------------------------------------------------------------------------------------

    def _take(self, block: Block, arrival_ns: int, out: Outputs, *, release: bool) -> None:
        kind = KINDS[block.kind]
        size, readings = block.samples.shape[0], block.samples.shape[1]
        route = self._route(block, arrival_ns, out)
        regular = kind.timing != "irregular"
        if kind.timing == "interval":
            duration = np.nansum(block.samples[:, :, 0], axis=1).astype(np.int64) * 1_000_000
            np.maximum(duration, readings, out=duration)
        else:
            duration = _ALL_SAME
        start_ns, gap_ns = np.empty(size, np.int64), np.empty(size, np.int64)
        fate, valid = np.empty(size, np.uint8), np.empty(size, np.bool_)
        self._stamp += 1
        unusual = clocks.admit(
            self.devices.streams,
            route.stream,
            block.t0_ns,
            block.seq,
            block.quality,
            int(readings / block.rate_hz * NS_PER_S) if kind.timing == "regular" else 0,
            duration,
            readings,
            block.rate_hz,
            arrival_ns,
            regular,
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
                self._silence(int(s), arrival_ns, "clear", out)
        samples = block.samples
        if unusual & clocks.REFUSED:
            self._set_aside(block, route, fate, arrival_ns, out)
            keep = np.flatnonzero(fate == clocks.ACCEPTED)
            size = keep.size
            if size:
                route = _Route(route.stream[keep], route.slot[keep], tuple(route.subjects[i] for i in keep))
                start_ns, samples, gap_ns, valid = start_ns[keep], samples[keep], gap_ns[keep], valid[keep]
        if size:
            rate_hz = float(self.devices.streams.rate_hz[route.stream[0]])
            frame = Frame(block.kind, route.slot, start_ns, rate_hz, samples, gap_ns, valid, block.shape)
            if unusual & clocks.UNEVEN:
                for part, names, own_hz in apart(frame, route.subjects, self.devices.streams.rate_hz[route.stream]):
                    self._dispatch(part._replace(rate_hz=own_hz), names, arrival_ns, out)
            else:
                self._dispatch(frame, route.subjects, arrival_ns, out)
        if self._held and not release:
            for s in np.unique(route.stream):
                waiting = self._held.get(int(s))
                if waiting:
                    self._release(int(s), arrival_ns, out, everything=len(waiting) > Held.MAX)

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

    # -- who is who -------------------------------------------------------------------------------------------------

    def _bind(self, streams: Iterable[int], now_ns: int, out: Outputs, wanted: set[str] | None = None) -> None:
        """Look up whom `streams` are about from `now_ns` on. All leave before any comes, so that a lane is free for its successor.

        `wanted`: whoever is not among these subjects has left the house and is forgotten.
        """
        coming = []
        for s in streams:
            device, kind = self.devices.names[s]
            subject = self.registry.subject(device, now_ns)
            before = self.devices.subject[s]
            self.devices.streams.edge_ns[s] = self.registry.valid_until(device, now_ns)
            if subject == before and (subject is None or self.devices.streams.slot[s] >= 0):
                continue
            if before is not None:
                self._leave(s, before, device, kind, now_ns, out)
            coming.append((s, subject))
        for subject in dict.fromkeys(self.slots.subjects):
            if subject and wanted is not None and subject not in wanted:
                gone = np.array(self.slots.drop(subject), np.int32)
                for detector in self.detectors:
                    detector.forget(gone)
        for s, subject in coming:
            self._come(s, subject, now_ns)
        if coming:
            self._routes.clear()

    def _leave(self, s: int, subject: str, device: str, kind: str, now_ns: int, out: Outputs) -> None:
        """The stream is no longer about `subject`: its lane is free, its silence is over, what was held has had its say."""
        self._release(s, now_ns, out, everything=True)
        if self.devices.streams.silent[s]:
            self.devices.streams.silent[s] = False
            self._silence(s, now_ns, "clear", out)
        self.slots.release(subject, kind, device)

    def _come(self, s: int, subject: str | None, now_ns: int) -> None:
        """The stream is about `subject` from now on, and starts afresh."""
        device, kind = self.devices.names[s]
        streams = self.devices.streams
        edge_ns = int(streams.edge_ns[s])
        self.devices.restart(s, now_ns)
        streams.edge_ns[s] = edge_ns
        streams.since_ns[s] = self.registry.valid_since(device, now_ns)
        self.devices.subject[s] = subject
        taken = self.slots.take(subject, kind, device) if subject is not None else None
        if taken is None or subject is None:
            return
        slot, new = taken
        streams.slot[s] = slot
        if new:
            self._ensure_capacity()
            self._apply_care(slot, subject)

    def _ensure_capacity(self) -> None:
        capacity = self._mark.shape[0]
        while capacity < len(self.slots):
            capacity *= 2
        if capacity > self._mark.shape[0]:
            self._mark = np.zeros(capacity, np.int64)
            self._stamp = 0
        for detector in self.detectors:
            detector.grow(capacity)

    def _apply_care(self, slot: int, subject: str) -> None:
        """Give the slot its resident's own parameters; those without one get the default again."""
        own = {(c.detector, c.field): c.value for c in self.registry.care.get(subject, ())}
        for detector in self.detectors:
            for field in detector.spec.overridable:
                detector.override(slot, field, own.get((detector.spec.name, field)))

    def _set_aside(self, block: Block, route: _Route, fate: NDArray[np.uint8], arrival_ns: int, out: Outputs) -> None:
        """Rows that were not accepted: report, quarantine, or hold."""
        readings = block.samples.shape[1]
        for i in np.flatnonzero(fate != clocks.ACCEPTED):
            outcome, device, t0_ns = int(fate[i]), block.devices[i], int(block.t0_ns[i])
            s = int(route.stream[i])
            if outcome == clocks.LATE:
                behind = int(self.devices.streams.next_ns[s]) - t0_ns
                out.late.append(Late(device, block.kind, t0_ns, behind, readings, block.samples[i].tobytes()))
            elif outcome == clocks.HELD:
                waiting = self._held.setdefault(s, [])
                waiting.append(Held.row(block, int(i), arrival_ns))
                waiting.sort(key=lambda h: h.seq)
            elif outcome in _FATES:
                reason, sentence = _FATES[outcome]
                if outcome == clocks.UNBOUND and self.devices.subject[s] is not None:
                    sentence = "{subject} already has as many devices of this kind as are watched: unbind one"
                detail = sentence.format(
                    ahead=(t0_ns - arrival_ns) / NS_PER_S, behind=(arrival_ns - t0_ns) / NS_PER_S, subject=self.devices.subject[s]
                )
                out.rejects.append(Reject(reason, detail, device, block.kind, readings, block.samples[i].tobytes()))
                if outcome == clocks.UNBOUND:
                    self.devices.saw_unbound(device, block.kind, readings, arrival_ns)

    def _release(self, s: int, arrival_ns: int, out: Outputs, *, everything: bool) -> None:
        """Feed the held chunks of stream `s` whose turn has come (all of them when they have waited long enough)."""
        while (waiting := self._held.get(s)) and (everything or waiting[0].seq <= self.devices.streams.last_seq[s] + 1):
            held = waiting.pop(0)
            if not waiting:
                del self._held[s]
            self._take(held.block(), arrival_ns, out, release=True)

    # -- detectors --------------------------------------------------------------------------------------------------

    def _dispatch(self, frame: Frame, subjects: tuple[str, ...], arrival_ns: int, out: Outputs) -> None:
        if frame.kind in self._columns:
            out.measurements.append(measured(frame, subjects, self._columns[frame.kind]))
        for detector in self._by_kind.get(frame.kind, ()):
            try:
                result = detector.step(frame)
            except Exception as error:  # noqa: BLE001 - whatever a detector throws, the others must go on; the bytes are kept
                self._failed(detector, frame, error, out)
                continue
            self._say(detector, result, arrival_ns, out)

    def _failed(self, detector: Detector[Any, Any], frame: Frame, error: Exception, out: Outputs) -> None:
        detail = f"detector {detector.spec.name} failed on this frame and starts afresh for its residents: {type(error).__name__}: {error}"
        detector.forget(frame.slot)
        for i, slot in enumerate(frame.slot):
            self._apply_care(int(slot), self.slots.subjects[slot])
            out.rejects.append(Reject(Reason.INTERNAL, detail, self.slots.subjects[slot], frame.kind, 0, frame.samples[i].tobytes()))

    def _say(self, detector: Detector[Any, Any], result: StepResult, arrival_ns: int, out: Outputs) -> None:
        for found in result.detections:
            out.events.append(self._event(detector.spec.name, found, arrival_ns))
        for feature in result.features:
            self._dispatch(feature, tuple(self.slots.subjects[slot] for slot in feature.slot), arrival_ns, out)

    def _event(self, name: str, found: Detection, arrival_ns: int) -> Event:
        subject = self.slots.subjects[found.slot]
        onset, decided = int(found.onset_ns), int(found.decided_ns)
        identity = event_id(name, found.code, subject, onset, found.phase)
        priority = int(self._types[found.code].priority)
        values = {key: float(value) for key, value in found.values.items()}
        return Event(identity, name, found.code, subject, found.phase, priority, onset, decided, arrival_ns, float(found.score), values)

    # -- time -------------------------------------------------------------------------------------------------------

    def _tick(self, now_ns: int, out: Outputs) -> None:
        if due := self.devices.due(now_ns):
            self._bind(due, now_ns, out)
        if self._held:
            for s in sorted(s for s, waiting in self._held.items() if now_ns - waiting[0].arrival_ns >= self.limits.hold_ns):
                self._release(s, now_ns, out, everything=True)
        for detector in self.detectors:
            try:
                result = detector.tick(now_ns)
            except Exception as error:  # noqa: BLE001 - as in _dispatch
                detail = f"detector {detector.spec.name} failed on a tick: {type(error).__name__}: {error}"
                out.rejects.append(Reject(Reason.INTERNAL, detail, "", "tick", 0, b""))
                continue
            if result.detections or result.features:
                self._say(detector, result, now_ns, out)
        for s in self.devices.gone_silent(now_ns):
            self._silence(int(s), now_ns, "onset", out)
        if _hour(now_ns) > self._hour_ns:
            self._past = list(self.totals())
            out.accounts.extend(self.accounts())
            self.devices.streams.counts[:] = 0
            self._refused.clear()
            self._hour_ns = _hour(now_ns)

    def _silence(self, s: int, now_ns: int, phase: Any, out: Outputs) -> None:
        streams = self.devices.streams
        subject = self.devices.subject[s]
        if subject is None:
            return
        device, kind = self.devices.names[s]
        onset, last_ns = int(self.devices.silent_since_ns[s]), int(streams.next_ns[s])
        label = f"{device}\x1f{kind}"
        identity = event_id("device", DEVICE_SILENT.code, subject, onset, phase, label)
        values = {"last_sample_s": round((now_ns - (last_ns if last_ns != NEVER_NS else onset)) / NS_PER_S, 3)}
        priority = int(DEVICE_SILENT.priority)
        out.events.append(
            Event(identity, "device", DEVICE_SILENT.code, subject, phase, priority, onset, now_ns, now_ns, 1.0, values, f"{device}:{kind}")
        )

    # -- books ------------------------------------------------------------------------------------------------------

    def accounts(self) -> list[Account]:
        """Where the readings of the current hour went, per device and kind; received = the sum of the others.

        Held chunks are counted when they are released. Readings refused before their device was known count under
        device "".
        """
        rows: dict[tuple[str, str], list[int]] = {}
        counts = self.devices.streams.counts
        for s in np.flatnonzero(counts[: len(self.devices.names)].any(axis=1)):
            rows[self.devices.names[s]] = [int(c) for c in counts[s]]
        for key, readings in self._refused.items():
            rows.setdefault(key, [0, 0, 0, 0])[3] += readings
        return [Account(device, kind, self._hour_ns, sum(row), *row) for (device, kind), row in rows.items()]

    def totals(self) -> tuple[int, int, int, int]:
        """Readings since the beginning: processed, duplicate, late, quarantined."""
        now = self.devices.streams.counts.sum(axis=0)
        refused = sum(self._refused.values())
        past = self._past
        return past[0] + int(now[0]), past[1] + int(now[1]), past[2] + int(now[2]), past[3] + int(now[3]) + refused

    def exposure_s(self) -> dict[str, float]:
        """Seconds of data processed per subject (the longest of its streams)."""
        covered: dict[str, float] = {}
        for s, subject in enumerate(self.devices.subject):
            if subject is not None:
                covered[subject] = max(covered.get(subject, 0.0), float(self.devices.streams.covered_ns[s]) / NS_PER_S)
        return covered

    def held(self) -> int:
        """Chunks waiting for a predecessor."""
        return sum(len(waiting) for waiting in self._held.values())

    # -- snapshot ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything, so that a restored engine goes on as if never stopped."""
        saved = EngineSaved(
            STATE_VERSION,
            pack(self.devices.streams),
            self.devices.names,
            [subject if subject is not None else "" for subject in self.devices.subject],
            self.slots.save(),
            self.registry.data,
            [(s, held) for s, waiting in self._held.items() for held in waiting],
            self._last_tick_ns,
            self._hour_ns,
            [(device, kind, count) for (device, kind), count in self._refused.items()],
            self._past,
            {d.spec.name: d.snapshot() for d in self.detectors},
        )
        return msgspec.msgpack.encode((saved, self.devices.save()))

    def restore(self, data: bytes) -> None:
        """Take over a snapshot; ValueError when it does not fit this version.

        Who is who, the streams and the accounts are taken over whatever detectors there are now; a detector that is new, or
        whose state has another version, starts cold and is named in `cold`.
        """
        try:
            saved, devices = msgspec.msgpack.decode(data, type=tuple[EngineSaved, bytes])
        except msgspec.DecodeError as error:
            raise ValueError(f"this is no engine snapshot of this version ({error}): start cold and replay") from error
        if saved.version != STATE_VERSION:
            raise ValueError(f"engine snapshot v{saved.version} does not fit this version v{STATE_VERSION}: start cold and replay")
        self.devices.load(
            devices, saved.devices, [subject or None for subject in saved.subjects], unpack(self.devices.streams, saved.streams)
        )
        self.slots.load(saved.slots)
        self.registry = Registry(saved.registry)
        self._held = {}
        for s, held in saved.held:
            self._held.setdefault(s, []).append(held)
        self._last_tick_ns, self._hour_ns = saved.last_tick_ns, saved.hour_ns
        self._refused = {(device, kind): count for device, kind, count in saved.refused}
        self._past = saved.past
        self.cold = []
        for detector in self.detectors:
            try:
                detector.restore(saved.detectors[detector.spec.name])
            except (KeyError, ValueError):
                self.cold.append(detector.spec.name)
        self._routes.clear()
        self._mark = np.zeros(64, np.int64)
        self._ensure_capacity()
        for slot, subject in enumerate(self.slots.subjects):
            if subject and self.cold:
                self._apply_care(slot, subject)


def _hour(t_ns: int) -> int:
    return t_ns // (3600 * NS_PER_S) * (3600 * NS_PER_S)
