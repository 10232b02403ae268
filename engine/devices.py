"""The table of streams: which device sends what, about whom, and whether it still does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.clocks import ACCEPTED, NEVER_NS, AdmissionLimits, Streams, initial_streams
from engine.frame import NS_PER_S, Bool, Int32, Int64
from engine.jit import kernel
from engine.state import grown

UNBOUND_STREAMS_MAX: Final = 20_000
"""Streams of unbound devices kept apart; the ones beyond it share the account of device "" (a flood of made-up names)."""
UNBOUND_MAX: Final = 10_000
"""Unbound devices remembered to be offered for binding; the oldest gives way."""
SILENT_AFTER_NS: Final = 120 * NS_PER_S
SILENT_PERIODS: Final = 5
"""A stream is silent after SILENT_AFTER_NS without a chunk, or SILENT_PERIODS of its own period if that is longer."""


_KEPT: Final = frozenset({"counts", "tokens", "tokens_ns", "recent_t0_ns", "recent_seq", "recent_at", "clock", "clock_offset_ns"})
"""What a stream keeps when it is about somebody else: repeats stay repeats, and a clock that was wrong is still wrong."""


class Unbound(msgspec.Struct, array_like=True):
    """A device that is bound to nobody: what it sends, how much, since when."""

    device: str
    kinds: list[str]
    readings: int
    first_ns: int
    last_ns: int


class _Saved(msgspec.Struct, array_like=True):
    unbound: list[Unbound]
    strangers: int
    silent_since_ns: bytes


@kernel
def _gone_silent(
    slot: Int32,
    silent: Bool,
    period_ns: Int64,
    first_ns: Int64,
    arrival_ns: Int64,
    next_ns: Int64,
    silent_since_ns: Int64,
    now_ns: int,
    found: Int64,
) -> int:
    """`Devices.gone_silent` for the first streams, as many as `found` has room for; writes them there and returns how many they are."""
    count = 0
    for s in range(found.shape[0]):
        if slot[s] < 0 or silent[s] or period_ns[s] <= 0 or first_ns[s] == NEVER_NS:
            continue
        if now_ns - arrival_ns[s] >= max(SILENT_AFTER_NS, SILENT_PERIODS * period_ns[s]):
            silent[s] = True
            silent_since_ns[s] = next_ns[s]
            found[count] = s
            count += 1
    return count


class Devices:
    """Streams by (device, kind), in a table that grows."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._fresh = initial_streams(1, limits)
        self.streams: Streams = initial_streams(64, limits)
        self.silent_since_ns: Int64 = np.full(64, NEVER_NS, np.int64)
        self.names: list[tuple[str, str]] = []
        self.subject: list[str | None] = []
        self.known: set[str] = set()
        self.unbound: dict[str, Unbound] = {}
        self._index: dict[tuple[str, str], int] = {}
        self._of: dict[str, list[int]] = {}
        self._strangers = 0

    def find(self, device: str, kind: str) -> int | None:
        """The row of a stream, None when it was never met."""
        return self._index.get((device, kind))

    def kinds(self, device: str) -> list[str]:
        """What `device` was ever met with."""
        return [self.names[s][1] for s in self._of.get(device, ())]

    def heard(self, device: str, subject: str, kind: str = "") -> bool:
        """Whether anything (of `kind`, if given) of `device` was accepted since it is about `subject`."""
        return any(
            self.streams.first_ns[s] != NEVER_NS and self.subject[s] == subject and kind in {"", self.names[s][1]}
            for s in self._of.get(device, ())
        )

    def index(self, device: str, kind: str, *, bound: bool) -> int:
        """The row of a stream; a new one for a stream not met before. `bound`: the registry knows the device."""
        found = self._index.get((device, kind))
        if found is not None:
            return found
        if not bound:
            if self._strangers >= UNBOUND_STREAMS_MAX and device:
                return self.index("", kind, bound=False)
            self._strangers += 1
        new = len(self.names)
        if new >= self.streams.slot.shape[0]:
            size = 2 * new
            self.streams = grown(self.streams, initial_streams(size, self._limits))
            self.silent_since_ns = np.concatenate([self.silent_since_ns, np.full(size - new, NEVER_NS, np.int64)])
        self.names.append((device, kind))
        self.subject.append(None)
        self.known.add(device)
        self._index[(device, kind)] = new
        self._of.setdefault(device, []).append(new)
        return new

    def due(self, now_ns: int) -> list[int]:
        """Streams whose binding may have changed by `now_ns`."""
        return [int(s) for s in np.flatnonzero(self.streams.edge_ns[: len(self.names)] <= now_ns)]

    def restart(self, s: int, now_ns: int) -> None:
        """The stream is about somebody else from now on; what it sent before stays known, so that repeats stay repeats."""
        columns: Iterator[tuple[str, NDArray[Any], NDArray[Any]]] = zip(Streams._fields, self.streams, self._fresh, strict=True)
        for name, column, fresh in columns:
            if name not in _KEPT:
                column[s] = fresh[0]
        self.streams.arrival_ns[s] = now_ns

    def saw_unbound(self, device: str, kind: str, readings: int, arrival_ns: int) -> None:
        """Remember a device to be offered for binding."""
        entry = self.unbound.get(device)
        if entry is None:
            if len(self.unbound) >= UNBOUND_MAX:
                del self.unbound[next(iter(self.unbound))]
            entry = self.unbound[device] = Unbound(device, [], 0, arrival_ns, arrival_ns)
        if kind not in entry.kinds:
            entry.kinds.append(kind)
        entry.readings += readings
        entry.last_ns = arrival_ns

    def exposure_s(self) -> dict[str, float]:
        """Seconds of data processed per subject (the longest of its streams)."""
        covered: dict[str, float] = {}
        for s, subject in enumerate(self.subject):
            if subject is not None:
                covered[subject] = max(covered.get(subject, 0.0), float(self.streams.covered_ns[s]) / NS_PER_S)
        return covered

    def gone_silent(self, now_ns: int) -> Int64:
        """Streams that were heard and have just been silent for too long; marks them."""
        streams = self.streams
        found = np.empty(len(self.names), np.int64)
        count = _gone_silent(
            streams.slot, streams.silent, streams.period_ns, streams.first_ns, streams.arrival_ns, streams.next_ns,
            self.silent_since_ns, now_ns, found,
        )  # fmt: skip
        return found[:count]

    def returned(self, index: Int64, fate: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Streams among `index` that were silent and have just been heard again; clears the mark."""
        silent = self.streams.silent[index]
        if not silent.any():
            return index[:0]
        found: NDArray[np.int64] = np.unique(index[silent & (fate == ACCEPTED)])
        self.streams.silent[found] = False
        return found

    def save(self) -> bytes:
        """What is not in the stream table."""
        return msgspec.msgpack.encode(_Saved(list(self.unbound.values()), self._strangers, self.silent_since_ns.tobytes()))

    def load(self, data: bytes, names: list[tuple[str, str]], subject: list[str | None], streams: Streams) -> None:
        """Inverse of `save`, with the rest of the snapshot."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        self.unbound = {entry.device: entry for entry in saved.unbound}
        self._strangers = saved.strangers
        self.silent_since_ns = np.frombuffer(saved.silent_since_ns, np.int64).copy()
        self.names = [(device, kind) for device, kind in names]
        self.subject = subject
        self.streams = streams
        self._index = {name: i for i, name in enumerate(self.names)}
        self.known = {device for device, _ in self.names}
        self._of = {}
        for i, (device, _) in enumerate(self.names):
            self._of.setdefault(device, []).append(i)
