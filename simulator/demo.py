"""The demo ward: 24 residents in 12 rooms; five alarms within the first minute or so, then quieter life for ever."""

from __future__ import annotations

from typing import Final

from simulator.scenario import Incident, Scenario, Trouble
from simulator.simulation import Simulation

RESIDENTS: Final = 24
OVERDUE: Final = 6
"""The resident who has been lying on one side for almost as long as allowed when the demo starts."""
OVERDUE_INTERVAL_S: Final = 1800
OVERDUE_LAIN_S: Final = 1770

OPENING: Final = (
    Incident("no_turn", at_s=-OVERDUE_LAIN_S, who=OVERDUE, duration_s=OVERDUE_LAIN_S + 600.0, variant="right"),
    Incident("tachycardia", at_s=4, who=2, duration_s=180, level=158),
    Incident("sos", at_s=12.4, who=9),
    Incident("fall", at_s=19.6, who=4, duration_s=100, variant="forward"),
    Incident("smoulder", at_s=36, who=8, duration_s=60),
)
"""The first minute."""

# Periods without common factors, so that no two hours are alike; ECG wearers are the even numbers, hence even strides.
LIFE: Final = (
    Incident("near_fall", at_s=240, who=13, duration_s=20, every_s=1270, stride=7),
    Incident("fall", at_s=330.3, who=19, duration_s=90, every_s=1510, stride=5),
    Incident("sos", at_s=420.7, who=16, every_s=1130, stride=11),
    Incident("off_body", at_s=510, who=11, duration_s=240, every_s=1930, stride=5),
    Incident("tachycardia", at_s=620, who=14, duration_s=150, level=146, every_s=1730, stride=2),
    Incident("steam", at_s=720, who=3, duration_s=300, every_s=2710, stride=5),
    Incident("bradycardia", at_s=840, who=20, duration_s=150, level=33, every_s=2330, stride=6),
    Incident("atrial_fibrillation", at_s=960, who=10, duration_s=420, every_s=3110, stride=4),
    Incident("spo2_low", at_s=1230, who=7, duration_s=200, every_s=2890, stride=3),
    Incident("moisture", at_s=1480, who=21, duration_s=900, every_s=3670, stride=9),
    Incident("ventricular_tachycardia", at_s=1810, who=22, duration_s=20, every_s=6110, stride=8),
    Incident("lead_off", at_s=2050, who=18, duration_s=120, every_s=2570, stride=4),
    Incident("smoulder", at_s=2420, who=5, duration_s=240, every_s=5430, stride=7),
    Incident("asystole", at_s=3050, who=12, duration_s=15, every_s=9070, stride=10),
)
"""An incident every few minutes."""

NETWORK: Final = (
    Trouble("duplicate", probability=0.01),
    Trouble("late", probability=0.02, offset_s=1.2),
    Trouble("skew", device="wb-015", offset_s=-0.35, drift_ppm=30),
    Trouble("dropout", at_s=900, duration_s=150, device="wb-012"),
    Trouble("outage", at_s=1380, duration_s=12),
)
"""A home's ordinary network."""


def demo_scenario(seed: int, start_ns: int) -> Scenario:
    """The demo ward from `start_ns` (UTC) on; it never ends."""
    return Scenario(
        name="demo",
        seed=seed,
        residents=RESIDENTS,
        seconds=float("inf"),
        start_ns=start_ns,
        ecg_every=2,
        turn_overrides={OVERDUE: float(OVERDUE_INTERVAL_S)},
        stored_s={OVERDUE: OVERDUE_LAIN_S},
        incidents=OPENING + LIFE,
        troubles=NETWORK,
    )


def demo_stream(seed: int, start_ns: int) -> Simulation:
    """The demo ward, ready to be iterated for records; a runner paces them by arrival_ns."""
    return Simulation(demo_scenario(seed, start_ns))
