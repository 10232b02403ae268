"""What everybody on the ward is doing: a semi-Markov day and night, vectorised where it is read, sparse where it changes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.frame import Bool, Float64

Codes = NDArray[np.int8]


class Activity(IntEnum):
    """What a resident does."""

    BED = 0
    SITTING = 1
    STANDING = 2
    WALKING = 3
    FLOOR = 4
    RISING = 5
    TOILET = 6


class Posture(IntEnum):
    """How somebody lies in bed."""

    SUPINE = 0
    LEFT = 1
    RIGHT = 2
    RAISED = 3
    """Supine, head of the bed raised."""


class Poses(NamedTuple):
    """State of all residents during one second: `activity`, `posture` int8 (n,), `changed` (n,) at its start."""

    activity: Codes
    posture: Codes
    changed: Bool

    @property
    def in_bed(self) -> Bool:
        """Who lies in bed."""
        return np.asarray(self.activity == Activity.BED)


Forced = dict[int, tuple[Activity, Posture]]
"""What an incident makes a resident do, by resident number."""

NIGHT_FROM_H: Final = 21.0
NIGHT_TO_H: Final = 6.0
NAP_H: Final = (13.0, 14.5)
MEALS_H: Final = ((7.0, 8.0), (11.5, 12.5), (17.0, 18.0))
# People left to themselves turn every 30 to 70 minutes; those who cannot are turned by staff within the customary two hours.
TURN_SELF_S: Final = (1800.0, 4200.0)
TURN_BY_STAFF_S: Final = (3600.0, 6600.0)
TURN_IN_TIME: Final = 0.85
"""Share of a resident's turn interval after which staff have turned them at the latest."""
MEAL_S: Final = 1800.0
TOILET_S: Final = (150.0, 420.0)
WALK_TO_TOILET_S: Final = (10.0, 25.0)
P_TOILET_AT_NIGHT: Final = 0.25
DAY_CHOICE: Final = (
    # activity, probability, shortest and longest stay in s
    (Activity.SITTING, 0.60, 300.0, 2400.0),
    (Activity.WALKING, 0.20, 40.0, 240.0),
    (Activity.STANDING, 0.10, 20.0, 150.0),
    (Activity.TOILET, 0.06, *TOILET_S),
    (Activity.BED, 0.04, 1200.0, 3600.0),
)


class Routine:
    """The daily life of n residents; `second` must be called for 0, 1, 2, ..."""

    def __init__(self, n: int, bedridden_share: float, local_hour: float, turn_interval_s: Float64, rng: np.random.Generator) -> None:
        self._rng = rng
        self._lie_s_max = TURN_IN_TIME * turn_interval_s
        self._hour0 = local_hour
        self.bedridden: Bool = rng.random(n) < bedridden_share
        self._activity = np.zeros(n, np.int8)
        self._posture = np.zeros(n, np.int8)
        self._until = np.zeros(n)
        self._plan: list[list[tuple[Activity, float]]] = [[] for _ in range(n)]
        self._forced: Forced = {}
        for i in range(n):
            self._next(i, 0.0)
            if self._plan[i]:  # a night starts in bed, not on the way to the toilet
                self._activity[i], self._until[i] = self._plan[i].pop()
                self._plan[i].clear()
            self._until[i] *= rng.random()  # nobody starts everything at once

    def second(self, second: int, forced: Forced) -> Poses:
        """The poses during [second, second + 1)."""
        before = self._activity.copy(), self._posture.copy()
        for i in self._forced.keys() - forced.keys():
            self._activity[i] = Activity.BED if self._forced[i][0] == Activity.BED else Activity.SITTING
            self._posture[i] = self._turned(i)
            self._until[i] = second + min(self._between(*TURN_SELF_S), float(self._lie_s_max[i]))
        for due in np.flatnonzero(self._until <= second):
            self._next(int(due), float(second))
        for i, (activity, posture) in forced.items():
            self._activity[i], self._posture[i] = activity, posture
        self._forced = forced
        moved = (self._activity != before[0]) | (self._posture != before[1])
        return Poses(self._activity.copy(), self._posture.copy(), moved)

    def hour(self, second: float) -> float:
        """Local time of day."""
        return (self._hour0 + second / 3600.0) % 24.0

    def _between(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def _turned(self, i: int) -> Posture:
        """Another lying posture than the present one."""
        others = [p for p in (Posture.SUPINE, Posture.LEFT, Posture.RIGHT) if p != self._posture[i]]
        return others[int(self._rng.integers(len(others)))]

    def _next(self, i: int, now_s: float) -> None:
        hour = self.hour(now_s)
        if self._plan[i]:
            activity, stay = self._plan[i].pop(0)
            posture = self._turned(i)
        elif self.bedridden[i]:
            activity, stay, posture = Activity.BED, self._between(*TURN_BY_STAFF_S), self._turned(i)
            if any(low <= hour < high for low, high in MEALS_H) and self._posture[i] != Posture.RAISED:
                stay, posture = MEAL_S, Posture.RAISED
        elif hour >= NIGHT_FROM_H or hour < NIGHT_TO_H or NAP_H[0] <= hour < NAP_H[1]:
            activity, stay, posture = Activity.BED, self._between(*TURN_SELF_S), self._turned(i)
            if self._rng.random() < P_TOILET_AT_NIGHT:
                walk = self._between(*WALK_TO_TOILET_S)
                self._plan[i] = [(Activity.TOILET, self._between(*TOILET_S)), (Activity.WALKING, walk), (Activity.BED, stay)]
                activity, stay = Activity.WALKING, walk
        else:
            choice = int(self._rng.choice(len(DAY_CHOICE), p=[row[1] for row in DAY_CHOICE]))
            activity, _, low, high = DAY_CHOICE[choice]
            stay, posture = self._between(low, high), self._turned(i)
        if activity == Activity.BED:
            stay = min(stay, float(self._lie_s_max[i]))
        self._activity[i], self._posture[i], self._until[i] = activity, posture, now_s + stay
