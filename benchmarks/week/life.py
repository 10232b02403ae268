"""What people and devices do in an ordinary week that is no fault: bands on their chargers, walks out of reach, a gateway that restarts.

How often is assumed, not measured; it is written here so that it can be argued with.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from benchmarks.week.bank import DAY_S, HOUR_S

LOST_SHARE: Final = (0.01, 0.02)
"""Chunks that a weak radio loses, by device."""
CHARGED_AT_NIGHT_SHARE: Final = 1 / 3
"""Residents whose band lies on its charger every night; those of the others do for two hours every third evening."""
NIGHT_ON_CHARGER_H: Final = (22.0, 30.5)
EVENING_H: Final = (18.0, 20.0)
EVENING_S: Final = (1.5 * HOUR_S, 2.5 * HOUR_S)
WALKS_A_DAY: Final = 1.0
"""Of a resident who walks: to the garden or the hall, out of reach of the gateway."""
WALK_S: Final = (180.0, 1200.0)
PATCH_CHANGED_EVERY_D: Final = 3
PATCH_S: Final = (300.0, 1200.0)
"""From the old ECG patch to the new one."""
SAYS_S: Final = 20.0
"""A device that goes off on its charger says so for so long before, if it can."""
BATTERY_S: Final = (60.0, 240.0)
GATEWAY_S: Final = 90.0
"""A restart of the gateway, once a week; it sends what it kept."""


class How(StrEnum):
    """What a device sends meanwhile."""

    GONE = "sends nothing"
    FLAGGED = "goes on sending, flagged"
    LYING = "goes on sending, unflagged, and measures nobody"


class Away(NamedTuple):
    """Devices that measure nobody from `from_s` to `until_s` after the start; `restarts`: numbers begin again with 0."""

    why: str
    devices: tuple[str, ...]
    from_s: float
    until_s: float
    how: How = How.GONE
    restarts: bool = False

    @property
    def charger(self) -> bool:
        """Whether it lies on its charger."""
        return self.why.startswith("charger")


class Life(NamedTuple):
    """The nuisances of a ward, in order of time; `gateway_s`: when it restarts; `lost`: share of chunks lost, by device."""

    aways: list[Away]
    gateway_s: float
    lost: dict[str, float]


def ordinary(walking: list[bool], ecg: list[bool], days: int, seed: int, devices: list[str]) -> Life:
    """The life of residents who walk or do not, with or without an ECG patch."""
    rng = np.random.default_rng([seed, 11])
    aways: list[Away] = []
    hows = tuple(How)
    for i, (walks, patch) in enumerate(zip(walking, ecg, strict=True)):
        band, own = f"wb-{i + 1:03d}", tuple(f"{name}-{i + 1:03d}" for name in ("wb", "sos", "tag", *(("patch",) if patch else ())))
        nightly = bool(rng.random() < CHARGED_AT_NIGHT_SHARE)
        how = hows[i % len(hows)]
        for day in range(days):
            begin = day * DAY_S
            if nightly:
                low, high = (hour * HOUR_S + rng.uniform(-1800, 1800) for hour in NIGHT_ON_CHARGER_H)
                aways.append(Away("charger, night", (band,), begin + low, begin + high, how))
            elif (day + i) % 3 == 0:
                at = begin + rng.uniform(*EVENING_H) * HOUR_S
                aways.append(Away("charger, evening", (band,), at, at + rng.uniform(*EVENING_S), how))
            if walks:
                for _ in range(rng.poisson(WALKS_A_DAY)):
                    at = begin + rng.uniform(7, 17) * HOUR_S
                    aways.append(Away("out of reach", own, at, at + rng.uniform(*WALK_S)))
            if patch and (day + i) % PATCH_CHANGED_EVERY_D == 1:
                at = begin + rng.uniform(9, 11) * HOUR_S
                aways.append(Away("patch changed", (f"patch-{i + 1:03d}",), at, at + rng.uniform(*PATCH_S), restarts=True))
        at = rng.uniform(0, days) * DAY_S
        aways.append(Away("battery replaced", (str(rng.choice(own)),), at, at + rng.uniform(*BATTERY_S), restarts=True))
    gateway_s = float(rng.uniform(0.3, 0.9) * days * DAY_S)
    lost = {device: float(rng.uniform(*LOST_SHARE)) for device in devices}
    return Life(sorted(aways, key=lambda away: away.from_s), gateway_s, lost)
