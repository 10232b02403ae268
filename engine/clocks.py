"""Admission of chunks by time: what is new, what was seen before, what comes too late, what cannot be true.

One row of the table is one stream: one kind of one device. Everything a decision needs is in fixed-size columns, so a
whole block is judged in one kernel call and the table is part of the snapshot.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.block import QUALITY_POOR
from engine.frame import GAP_NONE, GAP_RESTART, NS_PER_S, Bool, Float64, Int32, Int64, UInt8
from engine.jit import kernel

NEVER_NS: Final = -(2**63)
"""Value of a time that has not happened."""

RECENT: Final = 32
"""How many recent chunks a stream remembers to tell a duplicate from a late chunk."""

# What may become of a chunk.
ACCEPTED: Final = 0
DUPLICATE: Final = 1
LATE: Final = 2
FUTURE: Final = 3
PAST: Final = 4
UNBOUND: Final = 5
FLOOD: Final = 6
HELD: Final = 7

# What is unusual about a block, as bits; almost every block has none.
REFUSED: Final = 1
"""Some chunks were not ACCEPTED."""
UNEVEN: Final = 2
"""Among the ACCEPTED chunks a slot occurs twice, or streams run at different rates."""
HEARD_AGAIN: Final = 4
"""Some of the streams were silent."""

_JITTER_NS: Final = 20_000_000
"""Start times of contiguous chunks may differ from the sample grid by this much: radio devices stamp on sending."""
WOBBLE_NS: Final = 250_000_000
"""By so much where the chunks are numbered: connection intervals and retries of a radio reach 100 ms either way, and what is numbered
without a hole has none. Early by up to half a chunk, if that is more: a device that trims its clock. Later than this: it paused."""


RATE_TOLERANCE: Final = 0.02
"""Devices that report a measured rate wobble by well under this; a real change of rate is at least a quarter."""
BACK_RUN: Final = 5
"""So many chunks on end, contiguous among themselves but in the past: the device's clock was set back."""


class AdmissionLimits(NamedTuple):
    """Bounds of admission. Times in ns.

    future_ns: a device clock may be this far ahead of arrival. past_ns: the oldest store-and-forward data taken.
    hold_ns: how long a chunk waits for a missing predecessor. flood_rate: chunks a second, sustained, that may repeat,
    come late or be irregular before the rest is quarantined; flood_burst: how many at once.

    resend_ns: an instant (a press) that comes again so long after it was taken is its repetition, later it is another: senders give up by
    then. An MQTT client notices a dead connection after 1.5 keep-alives (MQTT 3.1.1, 3.1.2.10), 90 s at the usual 60 s; a Kafka producer tries
    for 120 s (delivery.timeout.ms); HTTP clients for less. resend_unmarked_ns: the same where neither clock nor number ever moved, so
    that every press looks alike: enough for the retries of a radio and a quick second request, and shorter than the time in which
    somebody answers a call and is needed again.
    """

    future_ns: int = 60 * NS_PER_S
    past_ns: int = 7 * 86_400 * NS_PER_S
    hold_ns: int = 2 * NS_PER_S
    flood_rate: float = 10.0
    flood_burst: float = 600.0
    resend_ns: int = 120 * NS_PER_S
    resend_unmarked_ns: int = 10 * NS_PER_S


class Streams(NamedTuple):
    """The state of all streams; axis 0 = stream."""

    slot: Int32  # -1: bound to nobody
    edge_ns: Int64  # when the binding must be looked up again
    since_ns: Int64  # from when on the device is about its present subject
    next_ns: Int64  # device time at which the next chunk should start
    first_ns: Int64
    covered_ns: Int64  # device time processed
    last_seq: Int64
    arrival_ns: Int64  # last arrival of something usable (at first: of anything)
    period_ns: Int64  # time between samples; 0 for kinds without a rate
    rate_hz: Float64  # the rate this stream runs at; a measured rate that wobbles around it changes nothing
    back_next_ns: Int64  # where a stream that fell behind, and does not number its chunks, would go on
    back_run: Int64  # how many chunks in a row went on there
    recent_t0_ns: Int64  # (s, RECENT)
    recent_seq: Int64  # (s, RECENT)
    recent_at: Int64
    tokens: Float64
    tokens_ns: Int64
    counts: Int64  # (s, 4) readings this hour: processed, duplicate, late, quarantined
    silent: Bool


def initial_streams(size: int, limits: AdmissionLimits) -> Streams:
    """Empty rows."""
    never = np.full(size, NEVER_NS, np.int64)
    return Streams(
        slot=np.full(size, -1, np.int32),
        edge_ns=never.copy(),
        since_ns=never.copy(),
        next_ns=never.copy(),
        first_ns=never.copy(),
        covered_ns=np.zeros(size, np.int64),
        last_seq=np.full(size, -1, np.int64),
        arrival_ns=never.copy(),
        period_ns=np.zeros(size, np.int64),
        rate_hz=np.zeros(size),
        back_next_ns=never.copy(),
        back_run=np.zeros(size, np.int64),
        recent_t0_ns=np.full((size, RECENT), NEVER_NS, np.int64),
        recent_seq=np.full((size, RECENT), -1, np.int64),
        recent_at=np.zeros(size, np.int64),
        tokens=np.full(size, limits.flood_burst),
        tokens_ns=never.copy(),
        counts=np.zeros((size, 4), np.int64),
        silent=np.zeros(size, np.bool_),
    )


@kernel
def take_token(streams: Streams, s: int, arrival_ns: int, limits: AdmissionLimits) -> bool:
    """Whether stream `s` may still repeat, come late or be irregular."""
    if streams.tokens_ns[s] != NEVER_NS:
        refill = (arrival_ns - streams.tokens_ns[s]) / NS_PER_S * limits.flood_rate
        streams.tokens[s] = min(limits.flood_burst, streams.tokens[s] + max(0.0, refill))
    streams.tokens_ns[s] = arrival_ns
    if streams.tokens[s] < 1.0:
        return False
    streams.tokens[s] -= 1.0
    return True


@kernel
def _seen(streams: Streams, s: int, t0_ns: int, seq: int) -> bool:
    for j in range(RECENT):
        if streams.recent_t0_ns[s, j] == t0_ns and (seq < 0 or streams.recent_seq[s, j] < 0 or streams.recent_seq[s, j] == seq):
            return True
    return False


@kernel
def admit(
    streams: Streams,
    index: Int64,
    t0_ns: Int64,
    seq: Int64,
    quality: UInt8,
    each_ns: int,
    duration_ns: Int64,
    readings: int,
    rate_hz: float,
    arrival_ns: int,
    release: bool,
    limits: AdmissionLimits,
    mark: Int64,
    stamp: int,
    start_ns: Int64,
    gap_ns: Int64,
    fate: UInt8,
    valid: Bool,
) -> int:
    """Judge k chunks; writes fate, start_ns (device time after absorbing small clock slips), gap_ns and valid of each.

    A chunk covers `each_ns` of device time, or where `duration_ns` (k,) is not empty, its own; instants have an admission of their own
    (engine/instants.py). `release` is True for chunks that were held: none is held again. `mark` (capacity,) is scratch, `stamp` a number
    not used before. Returns what is unusual: the sum of REFUSED, UNEVEN and HEARD_AGAIN. One call for all of it, because a call costs more
    than the work.
    """
    unusual = 0
    same = duration_ns.shape[0] == 0
    for i in range(index.shape[0]):
        s = index[i]
        t0 = t0_ns[i]
        duration = each_ns if same else duration_ns[i]
        valid[i] = quality[i] & QUALITY_POOR == 0
        if streams.silent[s]:
            unusual |= HEARD_AGAIN
        strange = t0 > arrival_ns + limits.future_ns or t0 < arrival_ns - limits.past_ns
        start_ns[i] = t0
        gap_ns[i] = GAP_NONE
        period = duration // readings
        slack = period // 2 + _JITTER_NS
        outcome = ACCEPTED
        if streams.slot[s] < 0:
            outcome = UNBOUND
        elif strange:
            outcome = FUTURE if t0 > arrival_ns else PAST
        elif t0 < streams.since_ns[s]:
            outcome = LATE  # about whoever had the device before
        elif t0 < streams.next_ns[s] and _seen(streams, s, t0, seq[i]):
            outcome = DUPLICATE
        elif streams.next_ns[s] == NEVER_NS:
            gap_ns[i] = GAP_RESTART
        else:
            ahead = t0 - streams.next_ns[s]
            next_seq = streams.last_seq[s] + 1
            numbered = seq[i] >= 0 and streams.last_seq[s] >= 0
            # how far the stamp is from where the numbers put the chunk, if all chunks are alike
            missing_ns = float(seq[i] - next_seq) * float(duration)
            wobble = ahead - missing_ns
            wobbles = abs(wobble) > slack and -max(duration // 2, WOBBLE_NS) <= wobble <= WOBBLE_NS
            if numbered and seq[i] >= next_seq and abs(ahead) > slack and wobbles:
                gap_ns[i] = int(missing_ns)
                start_ns[i] = streams.next_ns[s] + gap_ns[i]  # the numbers count, not the stamp: keep the grid
                if seq[i] > next_seq and not release and limits.hold_ns > 0:
                    outcome = HELD
            elif ahead > slack:
                gap_ns[i] = ahead
                # A hole in the numbers: the missing chunk may be on another path, a moment behind.
                if numbered and seq[i] > next_seq and not release and limits.hold_ns > 0:
                    outcome = HELD
            elif ahead < -slack:
                if numbered and seq[i] > streams.last_seq[s]:
                    gap_ns[i] = GAP_RESTART  # newer by number, older by clock: the clock was set back
                else:
                    outcome = LATE
                    if not numbered:
                        goes_on = abs(t0 - streams.back_next_ns[s]) <= slack
                        streams.back_run[s] = streams.back_run[s] + 1 if goes_on else 1
                        streams.back_next_ns[s] = t0 + duration
                        if streams.back_run[s] >= BACK_RUN:
                            outcome = ACCEPTED
                            gap_ns[i] = GAP_RESTART
        if outcome in (DUPLICATE, LATE) and not take_token(streams, s, arrival_ns, limits):
            outcome = FLOOD
        fate[i] = outcome
        if outcome in (ACCEPTED, HELD) or streams.arrival_ns[s] == NEVER_NS:
            streams.arrival_ns[s] = max(streams.arrival_ns[s], arrival_ns)
        streams.period_ns[s] = period
        if outcome != ACCEPTED:
            unusual |= REFUSED
        if outcome == HELD:
            continue  # counted when it is released
        column = 0
        if outcome == DUPLICATE:
            column = 1
        elif outcome == LATE:
            column = 2
        elif outcome != ACCEPTED:
            column = 3
        streams.counts[s, column] += readings
        if outcome in (ACCEPTED, LATE):
            at = streams.recent_at[s] % RECENT
            streams.recent_t0_ns[s, at] = t0_ns[i]
            streams.recent_seq[s, at] = seq[i]
            streams.recent_at[s] += 1
        if outcome == ACCEPTED:
            if streams.first_ns[s] == NEVER_NS:
                streams.first_ns[s] = start_ns[i]
            streams.next_ns[s] = start_ns[i] + duration
            streams.covered_ns[s] += duration
            streams.last_seq[s] = seq[i]
            streams.back_run[s] = 0
            if abs(rate_hz - streams.rate_hz[s]) > RATE_TOLERANCE * rate_hz:
                streams.rate_hz[s] = rate_hz
    first = -1
    for i in range(index.shape[0]):
        if fate[i] == ACCEPTED:
            s = index[i]
            first = s if first < 0 else first
            if mark[streams.slot[s]] == stamp or streams.rate_hz[s] != streams.rate_hz[first]:
                return unusual | UNEVEN
            mark[streams.slot[s]] = stamp
    return unusual
