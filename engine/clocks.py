"""Admission of chunks by time: what is new, what was seen before, what comes too late, what cannot be true.

One row of the table is one stream: one kind of one device. Everything a decision needs is in fixed-size columns, so a
whole block is judged in one kernel call and the table is part of the snapshot.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine import device_clock as dc
from engine.block import QUALITY_POOR
from engine.frame import GAP_NONE, GAP_RESTART, NS_PER_S, Bool, Float64, Int32, Int64, Samples, UInt8
from engine.jit import kernel

NEVER_NS: Final = dc.NEVER_NS
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

RESTARTS: Final = 0
HOLES: Final = 1
PAUSES: Final = 2
"""Columns of `Streams.breaks`: times began anew; time is missing; it is missing, and by the numbers no chunk is."""

_JITTER_NS: Final = 20_000_000
"""Start times of contiguous chunks may differ from the sample grid by this much and still be taken as they are."""
RATE_TOLERANCE: Final = 0.02
"""Devices that report a measured rate wobble by well under this; a real change of rate is at least a quarter."""
UNKNOWN_PERIOD_NS: Final = 240 * NS_PER_S
"""Assumed of single readings until a second one has come, and only to say when the stream is silent: they may be ten minutes apart."""


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
    breaks: Int64  # (s, 3) how often what came did not go on where the chunk before ended
    last_seq: Int64
    arrival_ns: Int64  # last arrival of something usable (at first: of anything)
    period_ns: Int64  # time between samples, declared or measured; 0 for kinds without a rate
    rate_hz: Float64  # the rate this stream runs at (a measured rate that wobbles around it changes nothing); 0: not known yet
    clock_offset_ns: Int64  # to be added to the device's stamps; 0: its own clock is good
    clock: Int64  # (s, device_clock.COLUMNS) what its stamps have been like
    recent_t0_ns: Int64  # (s, RECENT)
    recent_seq: Int64  # (s, RECENT) numbers; of a chunk without one, what was in it, as a number below 0
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
        breaks=np.zeros((size, 3), np.int64),
        last_seq=np.full(size, -1, np.int64),
        arrival_ns=never.copy(),
        period_ns=np.zeros(size, np.int64),
        rate_hz=np.zeros(size),
        clock_offset_ns=np.zeros(size, np.int64),
        clock=dc.initial_clock(size),
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
def _seen(streams: Streams, s: int, t0_ns: int, mark: int) -> bool:
    """`mark`: the number of the chunk, or below 0 where it has none; one that is numbered and one that is not are told apart by time alone."""
    for j in range(RECENT):
        if streams.recent_t0_ns[s, j] == t0_ns:
            before = streams.recent_seq[s, j]
            if before == mark or (before < 0) != (mark < 0):
                return True
    return False


@kernel
def admit(
    streams: Streams,
    index: Int64,
    t0_ns: Int64,
    seq: Int64,
    quality: UInt8,
    samples: Samples,
    each_ns: int,
    duration_ns: Int64,
    readings: int,
    rate_hz: float,
    arrival_ns: int,
    single: bool,
    release: bool,
    limits: AdmissionLimits,
    mark: Int64,
    stamp: int,
    start_ns: Int64,
    gap_ns: Int64,
    fate: UInt8,
    valid: Bool,
) -> int:
    """Judge k chunks; writes fate, start_ns (when it began, by the device's clock or, where that is wrong, by the estimated one), gap_ns and
    valid of each.

    A chunk covers `each_ns` of device time, or where `duration_ns` (k,) is not empty, its own: beat intervals; instants
    have an admission of their own (engine/instants.py). `single`: each is a reading by itself, `each_ns` apart as the device says (0: it does
    not say); how far apart they are is measured. `release` is True for chunks that were held: none is held again. `mark` (capacity,) is scratch, `stamp` a number not used before.
    Returns what is unusual: the sum of REFUSED, UNEVEN and HEARD_AGAIN. One call for all of it, because a call costs more than the work.
    """
    unusual = 0
    same = duration_ns.shape[0] == 0
    clock = streams.clock
    future_ns = limits.future_ns
    for i in range(index.shape[0]):
        s = index[i]
        number = seq[i]
        next_ns = streams.next_ns[s]
        duration = 0 if single else each_ns if same else duration_ns[i]
        valid[i] = quality[i] & QUALITY_POOR == 0
        if streams.silent[s]:
            unusual |= HEARD_AGAIN
        t0 = t0_ns[i]
        stands = set_right = False
        own_ns = 0
        if single:  # it may be stamped where its interval begins
            own_ns = min(int(NS_PER_S / streams.rate_hz[s]) if streams.rate_hz[s] > 0.0 else each_ns, dc.SLOW_LAG_NS)
        behind_ns = future_ns + own_ns
        before_ns = streams.arrival_ns[s]
        if next_ns == NEVER_NS and own_ns >= dc.SLOW_NS:
            lag = arrival_ns - t0
            honest = -future_ns <= lag <= behind_ns or (t0 < streams.since_ns[s] and lag <= limits.past_ns)
            if not honest and streams.clock_offset_ns[s] == 0 and streams.slot[s] >= 0:
                streams.clock_offset_ns[s], clock[s, dc.STOPPED] = lag, 1
        if streams.clock_offset_ns[s] != 0:
            t0 = dc.corrected(clock, streams.clock_offset_ns, s, t0, duration, arrival_ns, before_ns, next_ns, future_ns, behind_ns)
            stands = clock[s, dc.STOPPED] != 0
            set_right = streams.clock_offset_ns[s] == 0
        next_seq = streams.last_seq[s] + 1
        numbered = number >= 0 and next_seq > 0
        if numbered and number >= next_seq and next_ns != NEVER_NS and not -future_ns <= arrival_ns - duration - t0 <= behind_ns:
            expected_ns = next_ns + (number - next_seq) * max(duration, own_ns, 1)
            t0 = dc.jumped(clock, streams.clock_offset_ns, s, t0_ns[i], t0, expected_ns, duration, own_ns, arrival_ns, future_ns)
        strange = t0 > arrival_ns + future_ns or t0 < arrival_ns - limits.past_ns
        if strange and t0 > arrival_ns and next_ns != NEVER_NS and abs(t0 - next_ns) <= max(duration, NS_PER_S):
            # at the bound, where one chunk is within it and the next is not: what goes on goes on
            strange = t0 > arrival_ns + future_ns + future_ns // 4
        start_ns[i] = t0
        gap_ns[i] = GAP_NONE
        newest_ns = 0
        period = each_ns if single else duration // readings
        if single:
            if clock[s, dc.LAST] != NEVER_NS and t0 > clock[s, dc.LAST]:
                newest_ns = t0 - clock[s, dc.LAST]
            period = dc.interval_ns(newest_ns, clock[s, dc.INTERVAL_1], clock[s, dc.INTERVAL_2], each_ns)
            if period != each_ns and streams.rate_hz[s] > 0.0:
                before = int(NS_PER_S / streams.rate_hz[s])
                period = before if 4 * abs(period - before) <= before else period  # jitter
        slack = period // 2 + _JITTER_NS
        newest = clock[s, dc.NEWEST]
        # two chunks may have one stamp (a clock that stands still, a batch stamped at once): without numbers, the same says the same
        tag = -2 - dc.digest(samples, i) if number < 0 else number
        repeated = (t0 < next_ns or t0_ns[i] <= newest) and _seen(streams, s, t0_ns[i], tag)
        if stands and number < 0 and 2 * (arrival_ns - streams.arrival_ns[s]) >= period:
            repeated = False
        outcome = ACCEPTED
        odd = stands or t0_ns[i] == newest  # the clock, as it is known, does not explain this chunk
        overtook = False
        pull = 0
        deviation = 0
        if streams.slot[s] < 0:
            outcome = UNBOUND
        elif t0 < streams.since_ns[s] and not strange:
            outcome = LATE  # about whoever had the device before
            odd = not repeated
        elif repeated:
            outcome = DUPLICATE
        elif strange:
            outcome = FUTURE if t0 > arrival_ns else PAST
            odd = True
        elif next_ns == NEVER_NS:
            gap_ns[i] = GAP_RESTART
        else:
            ahead = t0 - next_ns
            hole = numbered and number > next_seq
            missing_ns = float(number - next_seq) * float(duration) if hole and same else 0.0
            off = ahead - missing_ns  # from where the numbers put the chunk, if all chunks are alike
            early = late = slack
            if single:
                early = late = 0
                if t0 != clock[s, dc.LAST] and t0 > clock[s, dc.LAST] - dc.WOBBLE_NS:
                    start_ns[i] = max(t0, clock[s, dc.LAST])
                    early = late = max(slack, abs(ahead))
                    missing_ns = ahead if ahead > slack else 0.0
            elif numbered and number < next_seq:
                early = late = slack  # began to number anew, or comes late
            elif stands:
                early, late = future_ns, max(duration, dc.STOPPED_LATE_NS)
            elif not same:
                early = dc.INTERVALS_EARLY_NS
                late = early if numbered and not hole else max(dc.INTERVALS_LATE_NS, duration)
            elif numbered:
                early = late = max(duration // 2, dc.WOBBLE_NS)
            else:
                wander = clock[s, dc.WANDER]
                most = max(duration // 2, dc.WOBBLE_NS)
                allowed = min(slack + dc.WANDER_RATIO * wander, most)
                early, late = max(allowed, duration // 2), max(allowed, duration // 4)
                # stamps that are good to half a chunk show as numbers do that one is missing
                overtook = not release and ahead > late and 2 * late <= duration and arrival_ns - before_ns <= limits.hold_ns + 2 * duration
                if not overtook:
                    more = min(abs(ahead), most) - wander
                    clock[s, dc.WANDER] = wander + more // (dc.WANDER_UP if more > 0 else dc.WANDER_DOWN)
            if not single and abs(ahead) <= slack:
                pass
            elif not single and abs(off) <= slack:
                gap_ns[i] = ahead
            elif -early <= off <= late:
                gap_ns[i] = int(missing_ns)
                if not single:
                    start_ns[i] = next_ns + gap_ns[i]  # the numbers count, not the stamp: keep the grid, and let it follow slowly
                    deviation = int(off)
                    if not same:
                        pull = max(deviation, -(duration // dc.INTERVALS_PULL))
                    elif deviation * clock[s, dc.DEVIATION] > 0:
                        pull = max(deviation // dc.PULL, -(duration // 2))
            elif ahead > 0:
                gap_ns[i] = ahead
            elif set_right or (numbered and number >= next_seq):
                gap_ns[i] = GAP_RESTART  # newer by number, older by clock: the clock was set back
                odd = True
            else:
                outcome = LATE
                odd = True
            # A hole in the numbers or in good stamps: the missing chunk may be on another path, a moment behind.
            if (
                (overtook or (hole and abs(ahead) > slack))
                and outcome == ACCEPTED
                and gap_ns[i] != GAP_RESTART
                and not release
                and limits.hold_ns > 0
            ):
                outcome = HELD
        if outcome not in (UNBOUND, DUPLICATE, HELD):
            lag = arrival_ns - duration - t0
            # while chunks are refused as too early, one that is just not is no proof that the clock is good
            if outcome == ACCEPTED and not odd and lag <= behind_ns and (clock[s, dc.RUN] == 0 or 2 * lag >= -future_ns):
                if clock[s, dc.RUN] != 0:
                    clock[s, dc.RUN] = 0
                if streams.clock_offset_ns[s] != 0:
                    dc.settle(clock, streams.clock_offset_ns, s, lag, duration, arrival_ns)
            else:
                verdict = dc.follow(clock, s, t0_ns[i], number, duration, arrival_ns, before_ns)
                lag = clock[s, dc.RUN_LAG] if verdict == dc.PACED else arrival_ns - duration - t0_ns[i]
                offset = 0 if -future_ns <= lag <= behind_ns and verdict == dc.PACED else lag
                changed = verdict != dc.KEEPS and (offset != streams.clock_offset_ns[s] or outcome != ACCEPTED)
                t0 = t0_ns[i] + offset
                if changed and t0 >= streams.since_ns[s]:
                    if not stands or outcome != ACCEPTED:
                        outcome = ACCEPTED
                        gap_ns[i] = GAP_RESTART
                        start_ns[i] = t0
                        pull = deviation = 0
                    streams.clock_offset_ns[s] = offset
                    clock[s, dc.STOPPED] = 1 if verdict == dc.STANDS else 0
                    clock[s, dc.RUN] = 0
        if outcome in (DUPLICATE, LATE) and not take_token(streams, s, arrival_ns, limits):
            outcome = FLOOD
        fate[i] = outcome
        if outcome in (ACCEPTED, HELD) or streams.arrival_ns[s] == NEVER_NS:
            streams.arrival_ns[s] = max(streams.arrival_ns[s], arrival_ns)
        streams.period_ns[s] = period if period > 0 else UNKNOWN_PERIOD_NS
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
            streams.recent_seq[s, at] = tag
            streams.recent_at[s] += 1
        if outcome == ACCEPTED:
            start = start_ns[i]
            if streams.first_ns[s] == NEVER_NS:
                streams.first_ns[s] = start
            covered = period if single else duration
            streams.next_ns[s] = start + covered + pull
            streams.covered_ns[s] += covered
            if gap_ns[i] != GAP_NONE:
                if gap_ns[i] == GAP_RESTART:
                    streams.breaks[s, RESTARTS] += 1
                elif gap_ns[i] > slack:
                    streams.breaks[s, HOLES] += 1
                    if numbered and number == next_seq:
                        streams.breaks[s, PAUSES] += 1
            streams.last_seq[s] = number
            own_hz = rate_hz
            if single:
                own_hz = rate_hz if period == each_ns else NS_PER_S / period
                if gap_ns[i] != GAP_RESTART and newest_ns > 0:
                    clock[s, dc.INTERVAL_2] = clock[s, dc.INTERVAL_1]
                    clock[s, dc.INTERVAL_1] = newest_ns
            clock[s, dc.LAST] = start
            clock[s, dc.DEVIATION] = deviation
            if t0_ns[i] > newest or gap_ns[i] == GAP_RESTART:
                clock[s, dc.NEWEST] = t0_ns[i]
            if abs(own_hz - streams.rate_hz[s]) > RATE_TOLERANCE * own_hz:
                streams.rate_hz[s] = own_hz
    first = -1
    for i in range(index.shape[0]):
        if fate[i] == ACCEPTED:
            s = index[i]
            first = s if first < 0 else first
            if mark[streams.slot[s]] == stamp or streams.rate_hz[s] != streams.rate_hz[first]:
                return unusual | UNEVEN
            mark[streams.slot[s]] = stamp
    return unusual
