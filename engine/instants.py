"""Admission of instants: reports of a moment (button, door, position, camera_event), which are never too late nor too early.

A report is told from its own repetition by device time, number and content, and where those tell nothing by the time of arrival: buttons
without a clock send the same bytes at every press. A press lost is worse than a press told twice, so doubt makes it a new one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np

from engine.block import QUALITY_POOR, Block
from engine.clocks import (
    ACCEPTED,
    DUPLICATE,
    FLOOD,
    HEARD_AGAIN,
    NEVER_NS,
    RECENT,
    REFUSED,
    UNBOUND,
    UNEVEN,
    AdmissionLimits,
    Streams,
    take_token,
)
from engine.frame import GAP_NONE, GAP_RESTART, NS_PER_S, Bool, Int32, Int64, Samples, UInt8
from engine.jit import kernel
from engine.kinds import CAMERA_FALL
from engine.state import grown, pack, unpack

EARLIER: Final = 8
"""Fate of a report that was measured before its device was bound to whom it is bound to now."""

_CLOCK_STEP_NS: Final = 2 * NS_PER_S
"""Two different reports may have the same device time when they arrive within this: clocks of whole seconds, and a moment on the way.
Further apart, the clock stands still."""
_LIVE_NS: Final = 5 * NS_PER_S
"""What arrives so soon after its device time did not wait anywhere: it is whose the device is now, also where the clock is a little slow."""
_STEADY_NS: Final = 2 * NS_PER_S
_STEADY_OVER_NS: Final = 60 * NS_PER_S
"""Reports that arrive this far apart, both equally late, are not stored ones: the clock is behind by that."""
_CALL_MIN: Final = 0.5
"""`pressed` is 0 or 1; anything from here up is a press."""


class Memory(NamedTuple):
    """The recent reports of each stream; axis 0 = row, axis 1 = report. A stream has two rows, so that states do not crowd out calls."""

    t0_ns: Int64  # (r, RECENT)
    seq: Int64
    content: Int64
    taken_ns: Int64  # arrival when it was taken; NEVER_NS: no report
    heard_ns: Int64  # arrival when it, or a repetition of it, last came
    worthless: Bool  # the same came again as another report: its time and number tell nothing
    at: Int64  # (r,) how many were taken


class Admitted(NamedTuple):
    """What became of k reports; as `clocks.admit` has it. `unknown`: the device time told nothing, start_ns is the arrival. `owned_ns`: the
    time that decides whose the report is."""

    start_ns: Int64
    gap_ns: Int64
    fate: UInt8
    valid: Bool
    unknown: Bool
    owned_ns: Int64
    unusual: int


def initial_memory(size: int) -> Memory:
    """Nothing remembered."""
    times = (size, RECENT)
    return Memory(
        t0_ns=np.full(times, NEVER_NS, np.int64),
        seq=np.full(times, -1, np.int64),
        content=np.zeros(times, np.int64),
        taken_ns=np.full(times, NEVER_NS, np.int64),
        heard_ns=np.full(times, NEVER_NS, np.int64),
        worthless=np.zeros(times, np.bool_),
        at=np.zeros(size, np.int64),
    )


def is_call(kind: str, samples: Samples) -> Bool:
    """Which of the reports (k, 1, c) call for help: a press, a fall that a camera saw."""
    first = samples[:, 0, 0]
    if kind == "button":
        return np.asarray(first >= _CALL_MIN)
    return np.asarray(first == CAMERA_FALL) if kind == "camera_event" else np.zeros(first.shape[0], np.bool_)


@kernel
def _content(bits: Int32, i: int) -> int:
    """A number for what report `i` says, from the bits of its channels (k, c)."""
    number = np.int64(0)
    for channel in range(bits.shape[1]):
        number = number * 1_000_003 + bits[i, channel]
    return number  # type: ignore[return-value]


@kernel
def _recall(
    memory: Memory, r: int, t0_ns: int, seq: int, content: int, arrival_ns: int, retained: bool, limits: AdmissionLimits
) -> tuple[int, bool, bool]:
    """The remembered report that is the same as this (-1: none); whether this is its repetition; whether its device time tells nothing."""
    same = -1
    smaller = False
    greater = False
    stands = False
    for j in range(RECENT):
        if memory.taken_ns[r, j] == NEVER_NS:
            continue
        other = seq >= 0 and memory.seq[r, j] >= 0 and memory.seq[r, j] != seq
        smaller = smaller or (other and memory.seq[r, j] < seq)
        greater = greater or (other and memory.seq[r, j] > seq)
        if memory.t0_ns[r, j] != t0_ns:
            continue
        if other or memory.content[r, j] != content:
            stands = stands or arrival_ns - memory.heard_ns[r, j] > _CLOCK_STEP_NS
        elif same < 0 or memory.taken_ns[r, j] > memory.taken_ns[r, same]:
            same = j
    if same < 0:
        return same, False, stands
    if retained:
        return same, True, stands
    taken_ns = memory.taken_ns[r, same]
    counted = smaller and not greater  # a smaller number than the last is a repetition, or a device that counts from 0 at every press
    moved_on = False  # the clock: what came after it has another time
    for j in range(RECENT):
        moved_on = moved_on or (memory.taken_ns[r, j] > taken_ns and memory.t0_ns[r, j] != t0_ns)
    was_right = abs(taken_ns - t0_ns) <= limits.future_ns
    if not memory.worthless[r, same] and (counted or ((moved_on or was_right) and not stands)):
        repeated = arrival_ns - taken_ns <= limits.resend_ns
    else:
        repeated = arrival_ns - memory.heard_ns[r, same] <= limits.resend_unmarked_ns
    return same, repeated, stands or not repeated


@kernel
def _behind_ns(memory: Memory, r: int, t0_ns: int, arrival_ns: int) -> int:
    """How far the clock of a stream is behind, from its reports in the rows `r` and `r` + 1 and the one at hand; 0 where they do not agree.

    The least delay of a report is the clock's error, if another report at another time had it too; stored reports are late by any time.
    """
    delay_ns = arrival_ns - t0_ns
    least_ns = delay_ns
    taken_ns = arrival_ns
    for k in range(r, r + 2):
        for j in range(RECENT):
            if memory.taken_ns[k, j] != NEVER_NS and memory.taken_ns[k, j] - memory.t0_ns[k, j] < least_ns:
                least_ns = memory.taken_ns[k, j] - memory.t0_ns[k, j]
                taken_ns = memory.taken_ns[k, j]
    steady = arrival_ns - taken_ns >= _STEADY_OVER_NS and delay_ns <= least_ns + _STEADY_NS
    for k in range(r, r + 2):
        for j in range(RECENT):
            if memory.taken_ns[k, j] != NEVER_NS and abs(memory.taken_ns[k, j] - taken_ns) >= _STEADY_OVER_NS:
                steady = steady or memory.taken_ns[k, j] - memory.t0_ns[k, j] <= least_ns + _STEADY_NS
    return max(0, least_ns) if steady else 0


@kernel
def remember(memory: Memory, r: int, same: int, t0_ns: int, seq: int, content: int, arrival_ns: int) -> None:
    """Keep a report that was taken; `same`: the place of the one that had the same time, number and content, -1 for none."""
    at = same
    if same < 0:
        at = memory.at[r] % RECENT
        memory.at[r] += 1
    memory.t0_ns[r, at] = t0_ns
    memory.seq[r, at] = seq
    memory.content[r, at] = content
    memory.taken_ns[r, at] = arrival_ns
    memory.heard_ns[r, at] = arrival_ns
    memory.worthless[r, at] = same >= 0


@kernel
def admit(
    streams: Streams,
    memory: Memory,
    index: Int64,
    row: Int64,
    t0_ns: Int64,
    seq: Int64,
    bits: Int32,
    quality: UInt8,
    wanted: Bool,
    arrival_ns: int,
    retained: bool,
    limits: AdmissionLimits,
    start_ns: Int64,
    gap_ns: Int64,
    fate: UInt8,
    valid: Bool,
    unknown: Bool,
    owned_ns: Int64,
) -> int:
    """Judge k reports; arguments and result as of `clocks.admit`. `owned_ns` (k,): whoever had the device then, it is theirs.

    `row` (k,): of `memory`. `bits` (k, c): of the samples. `wanted` (k,): remember the report even if its device is bound to nobody. What is EARLIER or UNBOUND is
    counted by the caller, who knows whether somebody had the device then.
    """
    unusual = 0
    for i in range(index.shape[0]):
        s = index[i]
        t0 = t0_ns[i]
        valid[i] = quality[i] & QUALITY_POOR == 0
        if streams.silent[s]:
            unusual |= HEARD_AGAIN
        content = _content(bits, i)
        same, repeated, told_nothing = _recall(memory, row[i], t0, seq[i], content, arrival_ns, retained, limits)
        unknown[i] = told_nothing or t0 > arrival_ns + limits.future_ns or t0 < arrival_ns - limits.past_ns
        start = arrival_ns if unknown[i] else t0
        start_ns[i] = start
        gap_ns[i] = GAP_RESTART if start < streams.next_ns[s] or streams.next_ns[s] == NEVER_NS else GAP_NONE
        owned_ns[i] = start
        if not unknown[i] and t0 < streams.since_ns[s]:
            owned_ns[i] = min(arrival_ns, t0 + _behind_ns(memory, row[i] // 2 * 2, t0, arrival_ns))
            if arrival_ns - owned_ns[i] <= _LIVE_NS:
                owned_ns[i] = arrival_ns
        outcome = ACCEPTED
        if repeated:
            outcome = DUPLICATE
            if not retained:  # what a broker had kept says nothing about now: the press that it still has to hand over comes a moment later
                memory.heard_ns[row[i], same] = arrival_ns
        elif owned_ns[i] < streams.since_ns[s]:
            outcome = EARLIER
        elif streams.slot[s] < 0:
            outcome = UNBOUND
        if outcome != UNBOUND and not take_token(streams, s, arrival_ns, limits):
            outcome = FLOOD
        fate[i] = outcome
        if outcome != ACCEPTED:
            unusual |= REFUSED
        if outcome == DUPLICATE:
            streams.counts[s, 1] += 1
        elif outcome == FLOOD:
            streams.counts[s, 3] += 1
        elif outcome != UNBOUND or wanted[i]:
            remember(memory, row[i], same, t0, seq[i], content, arrival_ns)
        if outcome == ACCEPTED:
            streams.counts[s, 0] += 1
            if streams.first_ns[s] == NEVER_NS:
                streams.first_ns[s] = start
            if gap_ns[i] != GAP_RESTART or streams.next_ns[s] == NEVER_NS:
                streams.next_ns[s] = start
            streams.last_seq[s] = seq[i]
        if outcome == ACCEPTED or streams.arrival_ns[s] == NEVER_NS:
            streams.arrival_ns[s] = max(streams.arrival_ns[s], arrival_ns)
        if unknown[i]:
            unusual |= UNEVEN
    return unusual


class _Saved(msgspec.Struct, array_like=True):
    streams: list[int]
    memory: bytes


class Instants:
    """The memory of all streams of instants."""

    def __init__(self) -> None:
        self._memory = initial_memory(2)
        self._row: Int64 = np.full(64, -1, np.int64)
        self._streams: list[int] = []

    def admit(
        self,
        streams: Streams,
        block: Block,
        index: Int64,
        calls: Bool,
        wanted: Bool,
        arrival_ns: int,
        limits: AdmissionLimits,
    ) -> Admitted:
        """Judge the reports of `block`, which are about the streams `index`. `calls`: `is_call` of each."""
        size = index.shape[0]
        row = self._rows(index) + calls
        found = Admitted(
            start_ns=np.empty(size, np.int64),
            gap_ns=np.empty(size, np.int64),
            fate=np.empty(size, np.uint8),
            valid=np.empty(size, np.bool_),
            unknown=np.empty(size, np.bool_),
            owned_ns=np.empty(size, np.int64),
            unusual=0,
        )
        unusual = admit(
            streams, self._memory, index, row, block.t0_ns, block.seq, np.ascontiguousarray(block.samples[:, 0, :]).view(np.int32), block.quality, wanted, arrival_ns, block.retained, limits,
            *found[:-1],
        )  # fmt: skip
        return found._replace(unusual=unusual)

    def _rows(self, index: Int64) -> Int64:
        """The first of the two rows of each stream; new ones for streams not met before."""
        if index.size and index.max() >= self._row.size:
            more = np.full(int(index.max()) + 1, -1, np.int64)
            self._row = np.concatenate([self._row, more])
        row = self._row[index]
        if (row < 0).any():
            for stream in index[row < 0].tolist():
                if self._row[stream] < 0:
                    self._row[stream] = 2 * len(self._streams)
                    self._streams.append(stream)
            row = self._row[index]
            if 2 * len(self._streams) > self._memory.at.shape[0]:
                self._memory = grown(self._memory, initial_memory(4 * len(self._streams)))
        return row

    def save(self) -> bytes:
        """For the snapshot."""
        used = 2 * len(self._streams)
        return msgspec.msgpack.encode(_Saved(self._streams, pack(Memory._make(column[:used] for column in self._memory))))

    def load(self, data: bytes) -> None:
        """Inverse of `save`; empty: nothing was remembered."""
        self._memory, self._row, self._streams = initial_memory(2), np.full(64, -1, np.int64), []
        if not data:
            return
        saved = msgspec.msgpack.decode(data, type=_Saved)
        self._rows(np.array(saved.streams, np.int64))
        stored = unpack(initial_memory(1), saved.memory)
        self._memory = grown(stored, initial_memory(max(2, stored.at.shape[0])))
