"""What the heart detector cannot judge at a slot although data comes, and since when: for whoever keeps the books of what is watched."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.heart.state import (
    CONSTANT,
    DOWN,
    DOWN_NS,
    NEVER,
    SIGN_COUNT,
    SIGN_NS,
    SIGN_SAME_NS,
    SIGN_VALUE,
    SIGNS,
    HeartState,
)
from engine.frame import NS_PER_S

HOUR_NS: Final = 3600 * NS_PER_S
FROZEN_READINGS_MIN: Final = 60
"""Equal values on end that come about by themselves: 47 hourly SpO2 values of 100, 35 of the heart rate (of 400 ICU patients of CinC 2019, most of
them paced or on oxygen)."""
FROZEN_NS: Final = (6 * HOUR_NS, 12 * HOUR_NS, 12 * HOUR_NS)
"""Heart rate, respiration, SpO2 in whole or half units. At 1 Hz for 8 minutes (BIDMC, 10 ICU patients) the heart rate stood for 2 minutes at
most, but respiration (of a ventilator) and SpO2 all the time."""
FROZEN_FINE_NS: Final = HOUR_NS // 2
"""A value with finer digits does not come again by chance."""
CEILING_PERCENT: Final = 100.0
"""SpO2 stays at its ceiling for days."""
HAZARDS: Final = ("heart", "breathing", "breathing")
"""Of the signs: what they are watched for."""


class Blindness(NamedTuple):
    """`kind` of data that comes without telling anything about `hazard`, the `reason` and the device time since when."""

    kind: str
    hazard: str
    reason: str
    since_ns: int


def blindness(state: HeartState, slot: int) -> tuple[Blindness, ...]:
    """Everything that is blind at `slot`; a kind of which nothing ever came is not named.

    Reasons: "no_signal" (constant ECG, frozen value), "no_value" (missing ECG), "warming_up" (no eight beats seen on this contact yet).
    """
    count = state.tally[slot]
    found = []
    if count[DOWN_NS] != NEVER:
        reason = "no_signal" if count[DOWN] == CONSTANT else "no_value"
        found.append(Blindness("ecg", "heart", reason, int(count[DOWN_NS])))
    frozen = [sign for sign in range(SIGNS) if is_frozen(state, slot, sign)]
    for hazard in dict.fromkeys(HAZARDS):
        own = [sign for sign in range(SIGNS) if HAZARDS[sign] == hazard and count[SIGN_NS + sign] != NEVER]
        if own and all(sign in frozen for sign in own):
            found.append(Blindness("vitals", hazard, "no_signal", int(max(count[SIGN_SAME_NS + sign] for sign in own))))
    return tuple(found)


def is_frozen(state: HeartState, slot: int, sign: int) -> bool:
    """Whether a vital sign has been the same to the last digit for longer than a living body keeps it."""
    count = state.tally[slot]
    value = float(state.level[slot, SIGN_VALUE + sign])
    if count[SIGN_COUNT + sign] < FROZEN_READINGS_MIN or (sign == SIGNS - 1 and value == CEILING_PERCENT):
        return False
    coarse = float(np.float32(value) * 2).is_integer()
    return bool(count[SIGN_NS + sign] - count[SIGN_SAME_NS + sign] >= (FROZEN_NS[sign] if coarse else FROZEN_FINE_NS))
