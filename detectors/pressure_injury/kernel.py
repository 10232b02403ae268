"""The turn clock: who lies how since when, over all slots. Times are device nanoseconds.

Observations (EMPTY, SUPINE, RIGHT, LEFT, UNSEEN) feed a vote with a memory of about a minute; the vote's winner is the
*settled* posture. The clock counts the time on the *held* side, the tissue under load. Another settled side starts the
relief; when it has lasted decompression_s, it is an effective turn and becomes the held side.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.pressure_injury.posture import (
    COHERENCE,
    COLUMNS_MIN,
    CONTACT,
    COVER_MAX,
    EMPTY,
    MEAN,
    MISSING,
    NO_DATA,
    PEAK,
    ROWS_MIN,
    UNSEEN,
    classify,
    describe,
)
from detectors.pressure_injury.state import (
    F_CLEAR,
    F_CODE,
    F_DECIDED,
    F_ONSET,
    F_POSTURE,
    F_SLOT,
    FEATURE_PERIOD_NS,
    NOBODY,
    OVERDUE,
    POSTURES,
    STEP_SHARE_MAX,
    WET,
    PressureInjuryLimits,
    PressureInjuryState,
    Workspace,
)
from engine.frame import NS_PER_S, Bool, Float32, Float64, Int32, Int64
from engine.jit import kernel
from engine.kinds import channel

IN_BED: Final = channel("bed", "in_bed")
MOISTURE: Final = channel("bed", "moisture")


@kernel
def write_finding(out: Int64, count: int, slot: int, code: int, onset_ns: int, decided_ns: int, clear: int, held: int) -> int:
    out[count, F_SLOT] = slot
    out[count, F_CODE] = code
    out[count, F_ONSET] = onset_ns
    out[count, F_DECIDED] = decided_ns
    out[count, F_CLEAR] = clear
    out[count, F_POSTURE] = held
    return count + 1


@kernel
def interval_of(held: int, interval_ns: int, limits: PressureInjuryLimits) -> int:
    """How long this held posture may last."""
    return max(interval_ns, limits.unseen_ns) if held == UNSEEN else interval_ns


@kernel
def _settle(state: PressureInjuryState, s: int, t_ns: int, seen: int, limits: PressureInjuryLimits) -> None:
    """Put one observation to the vote."""
    elapsed = t_ns - state.seen_ns[s] if state.seen_ns[s] else limits.period_ns
    share = min(elapsed / limits.memory_ns, STEP_SHARE_MAX)
    for p in range(POSTURES):
        state.vote[s, p] -= share * state.vote[s, p]
    state.vote[s, seen] += share
    if state.settled[s] == seen:
        state.change_ns[s] = 0
    elif state.change_ns[s] == 0:
        state.change_ns[s] = t_ns
    best = int(np.argmax(state.vote[s]))
    if best != state.settled[s] and state.vote[s, best] >= limits.vote_min:
        state.settled[s] = best
        state.settled_ns[s] = state.change_ns[s]
        state.change_ns[s] = 0


@kernel
def observe(
    state: PressureInjuryState, s: int, t_ns: int, seen: int, interval_ns: int, limits: PressureInjuryLimits, out: Int64, count: int
) -> int:
    """One observation of slot `s` at `t_ns`; returns the new count of findings in `out`."""
    last = state.seen_ns[s]
    if t_ns < last <= t_ns + limits.fresh_ns:
        return count  # the other sensor of this resident has already reported a later time
    if last and (t_ns < last or t_ns - last > limits.bridge_ns):
        # Nobody knows what happened meanwhile: the clock starts anew. An overdue turn stays overdue, and one that fell
        # due in the part of the gap that is bridged is reported now, unless the resident was up before or is up now.
        due_ns = state.clock_ns[s] + interval_of(state.held[s], interval_ns, limits)
        lying = state.held[s] != NOBODY and state.settled[s] != EMPTY and state.relief_ns[s] == 0 and seen != EMPTY
        if lying and not state.overdue[s] and last < t_ns and due_ns <= last + limits.bridge_ns:
            state.overdue[s] = 1
            state.overdue_ns[s] = due_ns
            count = write_finding(out, count, s, OVERDUE, due_ns, t_ns, 0, state.held[s])
        state.vote[s] = 0.0
        state.settled[s] = NOBODY
        state.change_ns[s] = 0
        state.held[s] = NOBODY
        state.relief_ns[s] = 0
        state.seen_ns[s] = 0
    _settle(state, s, t_ns, seen, limits)
    state.seen_ns[s] = t_ns
    settled = state.settled[s]
    held = state.held[s]
    if settled == NOBODY:
        return count
    if settled == EMPTY:
        if seen == EMPTY and t_ns - state.settled_ns[s] >= limits.exit_ns:
            if state.overdue[s]:
                count = write_finding(out, count, s, OVERDUE, state.overdue_ns[s], t_ns, 1, held)
            state.overdue[s] = 0
            state.held[s] = NOBODY
            state.relief_ns[s] = 0
        return count
    if held == NOBODY:
        state.held[s] = settled
        state.clock_ns[s] = state.settled_ns[s]
    elif held == UNSEEN:
        state.held[s] = settled  # the posture became visible; the time in bed goes on
    elif settled == held:
        state.relief_ns[s] = 0
    elif settled != UNSEEN:
        if state.relief_ns[s] == 0:
            state.relief_ns[s] = state.settled_ns[s]
        if t_ns - state.relief_ns[s] >= limits.decompression_ns:
            if state.overdue[s]:
                count = write_finding(out, count, s, OVERDUE, state.overdue_ns[s], t_ns, 1, held)
            state.overdue[s] = 0
            state.held[s] = settled
            state.clock_ns[s] = state.settled_ns[s]
            state.relief_ns[s] = 0
    held = state.held[s]
    loaded = seen == UNSEEN or seen == held  # noqa: PLR1714 - numba wants one type in a tuple
    due_ns = state.clock_ns[s] + interval_of(held, interval_ns, limits)
    relieved = state.relief_ns[s] != 0 and settled != UNSEEN
    if not state.overdue[s] and not relieved and t_ns >= due_ns and loaded:
        state.overdue[s] = 1
        state.overdue_ns[s] = due_ns
        count = write_finding(out, count, s, OVERDUE, due_ns, t_ns, 0, held)
    return count


@kernel
def _report(state: PressureInjuryState, s: int, t_ns: int, features: Float32, feature_slots: Int64, feature_count: int) -> int:
    """Once a minute: the feature row of slot `s`."""
    minute = t_ns // FEATURE_PERIOD_NS
    if minute == state.minute[s]:
        return feature_count
    state.minute[s] = minute
    settled = state.settled[s]
    row = features[feature_count]
    row[:] = np.nan
    if settled != NOBODY:
        row[0] = settled
        row[1] = state.vote[s, settled]
    row[2] = state.contact[s]
    row[3] = state.peak[s]
    if state.held[s] != NOBODY:
        row[4] = (t_ns - state.clock_ns[s]) / NS_PER_S
    feature_slots[feature_count, 0] = s
    feature_slots[feature_count, 1] = t_ns
    return feature_count + 1


@kernel
def _look(
    state: PressureInjuryState, s: int, t_ns: int, shape: tuple[int, int], work: Workspace, checksum: int, limits: PressureInjuryLimits
) -> int:
    """What one described map shows: a posture, EMPTY, UNSEEN or NO_DATA."""
    summary = work.summary
    if checksum != state.checksum[s] or t_ns < state.same_ns[s]:
        state.checksum[s] = checksum
        state.same_ns[s] = t_ns
    if summary[MISSING] > limits.missing_max or t_ns - state.same_ns[s] > limits.stuck_ns:
        return NO_DATA
    if checksum == 0:
        return EMPTY
    if summary[MEAN] <= 0.0 or summary[CONTACT] > COVER_MAX:
        return NO_DATA  # every cell alike (saturated, or a dead sheet with an offset): no body does that
    if (
        summary[CONTACT] < limits.contact_min
        or summary[COHERENCE] < limits.coherence_min
        or summary[MEAN] < limits.load_min * state.load[s]
    ):
        return EMPTY
    share = min(limits.period_ns / limits.memory_ns, STEP_SHARE_MAX)
    state.load[s] += share * (summary[MEAN] - state.load[s]) if state.load[s] > 0.0 else summary[MEAN]
    state.contact[s] = summary[CONTACT]
    state.peak[s] = summary[PEAK]
    if shape[0] < ROWS_MIN or shape[1] < COLUMNS_MIN:
        return UNSEEN
    posture, confidence = classify(work.features)
    return posture if confidence >= limits.confidence_min else UNSEEN


@kernel
def step_maps(
    state: PressureInjuryState,
    slots: Int32,
    t0_ns: Int64,
    period_ns: float,
    samples: NDArray[np.uint16],
    valid: Bool,
    shape: tuple[int, int],
    interval_s: Float64,
    limits: PressureInjuryLimits,
    work: Workspace,
    out: Int64,
    features: Float32,
    feature_slots: Int64,
) -> tuple[int, int]:
    """Pressure maps (k, n, rows * columns) through the clock; returns the counts of findings and of feature rows."""
    count = 0
    feature_count = 0
    for j in range(slots.shape[0]):
        if not valid[j]:
            continue
        s = slots[j]
        interval_ns = int(interval_s[s] * NS_PER_S)
        for i in range(samples.shape[1]):
            t_ns = t0_ns[j] + int(i * period_ns)
            epoch = t_ns // limits.period_ns
            if epoch == state.map_epoch[s]:
                continue
            checksum = describe(samples[j, i], shape[0], shape[1], work.scratch, work.summary, work.features)
            seen = _look(state, s, t_ns, shape, work, checksum, limits)
            if seen == NO_DATA:
                continue
            state.map_epoch[s] = epoch
            state.map_ns[s] = t_ns
            if seen == EMPTY:
                state.contact[s] = 0.0
                state.peak[s] = np.nan
            count = observe(state, s, t_ns, seen, interval_ns, limits, out, count)
            feature_count = _report(state, s, t_ns, features, feature_slots, feature_count)
    return count, feature_count


@kernel
def _moisture(state: PressureInjuryState, s: int, t_ns: int, moisture: float, limits: PressureInjuryLimits, out: Int64, count: int) -> int:
    """Wet for long enough, or dry again for long enough. NaN: nothing known, nothing changes."""
    contrary = moisture >= limits.wet_min if not state.wet[s] else moisture <= limits.dry_max
    if np.isnan(moisture):
        return count
    if not contrary:
        state.soak_ns[s] = 0
        return count
    if state.soak_ns[s] == 0 or t_ns < state.soak_ns[s]:
        state.soak_ns[s] = t_ns
    if t_ns - state.soak_ns[s] >= limits.moist_ns:
        if state.wet[s]:
            count = write_finding(out, count, s, WET, state.wet_ns[s], t_ns, 1, NOBODY)
        else:
            state.wet_ns[s] = state.soak_ns[s]
            count = write_finding(out, count, s, WET, state.wet_ns[s], t_ns, 0, NOBODY)
        state.wet[s] = 1 - state.wet[s]
        state.soak_ns[s] = 0
    return count


@kernel
def step_beds(
    state: PressureInjuryState,
    slots: Int32,
    t0_ns: Int64,
    period_ns: float,
    samples: Float32,
    valid: Bool,
    interval_s: Float64,
    limits: PressureInjuryLimits,
    out: Int64,
    features: Float32,
    feature_slots: Int64,
) -> tuple[int, int]:
    """Bed frames (k, n, 3): moisture always, presence while no map tells more; returns the counts as `step_maps`."""
    count = 0
    feature_count = 0
    for j in range(slots.shape[0]):
        if not valid[j]:
            continue
        s = slots[j]
        interval_ns = int(interval_s[s] * NS_PER_S)
        for i in range(samples.shape[1]):
            t_ns = t0_ns[j] + int(i * period_ns)
            if samples.shape[2] > MOISTURE:
                count = _moisture(state, s, t_ns, samples[j, i, MOISTURE], limits, out, count)
            in_bed = samples[j, i, IN_BED]
            mapped = state.map_ns[s] != 0 and abs(t_ns - state.map_ns[s]) <= limits.fresh_ns
            epoch = t_ns // limits.period_ns
            if np.isnan(in_bed) or mapped or epoch == state.bed_epoch[s]:
                continue
            state.bed_epoch[s] = epoch
            seen = UNSEEN if in_bed >= limits.in_bed_min else EMPTY
            count = observe(state, s, t_ns, seen, interval_ns, limits, out, count)
            state.contact[s] = np.nan
            state.peak[s] = np.nan
            feature_count = _report(state, s, t_ns, features, feature_slots, feature_count)
    return count, feature_count
