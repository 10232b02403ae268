"""What the turn clock remembers per slot, its parameters, its work space and its findings, as the kernels take them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.pressure_injury.posture import FEATURES, SUMMARY, Scratch, scratch
from engine.frame import NS_PER_S, Float64, Int64, UInt8

NOBODY: Final = -1
"""`held` and `settled` before anything is known."""
POSTURES: Final = 5
STEP_SHARE_MAX: Final = 0.35
"""No single observation may outvote the others: it takes three to change a settled posture at any frame rate."""
FEATURE_PERIOD_NS: Final = 60 * NS_PER_S

# columns of a finding
F_SLOT: Final = 0
F_CODE: Final = 1
F_ONSET: Final = 2
F_DECIDED: Final = 3
F_CLEAR: Final = 4
F_POSTURE: Final = 5
FINDING: Final = 6
OVERDUE: Final = 0
WET: Final = 1

FEATURE_COLUMNS: Final = ("posture_code", "confidence_fraction", "contact_fraction", "peak_ratio", "turn_clock_s")
FINDINGS_PER_SAMPLE: Final = 2
"""At most one of the clock and one of moisture."""


class PressureInjuryLimits(NamedTuple):
    """PressureInjuryParams in nanoseconds and fractions (see there)."""

    unseen_ns: int
    decompression_ns: int
    exit_ns: int
    bridge_ns: int
    fresh_ns: int
    period_ns: int
    memory_ns: int
    stuck_ns: int
    moist_ns: int
    vote_min: float
    confidence_min: float
    contact_min: float
    load_min: float
    coherence_min: float
    missing_max: float
    in_bed_min: float
    wet_min: float
    dry_max: float


class PressureInjuryState(NamedTuple):
    """Per slot; times 0 = never, postures NOBODY = not known."""

    seen_ns: Int64  # last observation
    map_ns: Int64  # last map from which presence or posture could be read
    map_epoch: Int64
    bed_epoch: Int64
    checksum: Int64
    same_ns: Int64  # since when the checksum has not changed
    load: Float64  # the slot's usual mean load
    vote: Float64  # (slots, POSTURES)
    settled: NDArray[np.int8]
    settled_ns: Int64
    change_ns: Int64  # since when something else than the settled posture is observed
    held: NDArray[np.int8]
    clock_ns: Int64  # since when the held side is under load
    relief_ns: Int64  # since when it is not
    overdue: UInt8
    overdue_ns: Int64
    minute: Int64
    contact: Float64
    peak: Float64
    wet: UInt8
    wet_ns: Int64  # onset of the wet spell that was reported
    soak_ns: Int64  # since when the sensor says the opposite of what was reported


class Workspace(NamedTuple):
    """Scratch arrays for maps of one shape: for `describe`, its summary, its features. Nothing in it outlives a call."""

    scratch: Scratch
    summary: Float64
    features: Float64


def initial(capacity: int) -> PressureInjuryState:
    """PressureInjuryState of `capacity` slots about which nothing is known."""

    def times() -> Int64:
        return np.zeros(capacity, np.int64)

    return PressureInjuryState(
        seen_ns=times(),
        map_ns=times(),
        map_epoch=np.full(capacity, -1, np.int64),
        bed_epoch=np.full(capacity, -1, np.int64),
        checksum=np.full(capacity, -1, np.int64),
        same_ns=times(),
        load=np.zeros(capacity),
        vote=np.zeros((capacity, POSTURES)),
        settled=np.full(capacity, NOBODY, np.int8),
        settled_ns=times(),
        change_ns=times(),
        held=np.full(capacity, NOBODY, np.int8),
        clock_ns=times(),
        relief_ns=times(),
        overdue=np.zeros(capacity, np.uint8),
        overdue_ns=times(),
        minute=np.full(capacity, -1, np.int64),
        contact=np.full(capacity, np.nan),
        peak=np.full(capacity, np.nan),
        wet=np.zeros(capacity, np.uint8),
        wet_ns=times(),
        soak_ns=times(),
    )


def workspace(rows: int, columns: int) -> Workspace:
    """Workspace for maps of this shape."""
    return Workspace(scratch(rows, columns), np.zeros(SUMMARY), np.zeros(FEATURES))
