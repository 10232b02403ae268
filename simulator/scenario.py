"""What a simulated ward goes through: who lives there, what happens to them, and what the network does to the data."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

IncidentKind = Literal[
    "fall",
    "near_fall",
    "sos",
    "off_body",
    "tachycardia",
    "bradycardia",
    "asystole",
    "atrial_fibrillation",
    "ventricular_tachycardia",
    "ventricular_fibrillation",
    "spo2_low",
    "lead_off",
    "no_turn",
    "moisture",
    "smoulder",
    "steam",
]
TroubleKind = Literal["dropout", "outage", "late", "duplicate", "skew", "step", "unknown_device", "garbage"]

INCIDENT_KINDS: Final = get_args(IncidentKind)
ROOM_INCIDENTS: Final = frozenset({"smoulder", "steam"})
KINDS_DEFAULT: Final = (
    "accel",
    "ecg",
    "ppg",
    "vitals",
    "bed",
    "pressure_map",
    "room_air",
    "electrical",
    "button",
    "door",
    "position",
    "camera_event",
)
KINDS_ALL: Final = (*KINDS_DEFAULT, "gyro", "rr_interval")


class Incident(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that happens to resident (or room) number `who`, from at_s for duration_s of ward time.

    A fall ends with help after duration_s; a near_fall (hands and knees touch the floor, up again at once) is no fall.
    `variant`: of a fall "forward", "backward" or "slump"; of no_turn "supine", "left" or "right". `level`: the heart
    rate in beats/min of a tachycardia, bradycardia, AF or VT, the SpO2 in percent of spo2_low, the
    optical density in 1/m of steam; 0 takes the kind's own.
    `every_s` > 0 repeats it for ever, each time to the resident (room) `stride` numbers further on.
    """

    kind: IncidentKind
    at_s: float
    who: int = 0
    duration_s: float = 120.0
    variant: str = ""
    level: float = 0.0
    every_s: float = 0.0
    stride: int = 1


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes wrong between the sensors and Vigil, from at_s for duration_s.

    dropout: chunks of the matching devices are lost. outage: the gateway keeps its batches and sends them when it is
    back, in mixed order. late / duplicate: each batch, with `probability`, arrives `offset_s` later / a second time.
    skew: the matching devices' clocks are wrong by `offset_s` and run `drift_ppm` fast. step: from at_s on they are
    wrong by `offset_s`. unknown_device: a device bound to nobody sends. garbage: a broken device sends nonsense.
    `device` is a prefix of device ids ("" matches all).
    """

    kind: TroubleKind
    at_s: float = 0.0
    duration_s: float = 1e12
    device: str = ""
    probability: float = 1.0
    offset_s: float = 0.0
    drift_ppm: float = 0.0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A ward of `residents`, two to a room, and its story. The same scenario gives the same bytes.

    start_ns is UTC; `utc_offset_h` gives the ward's local time, which the daily routine follows. `kinds`: the sensor
    kinds that are installed. Every `ecg_every`-th resident wears an ECG patch (1 = all, 0 = none). A resident's turn
    interval is `turn_interval_s` unless `turn_overrides` (resident number -> seconds) says otherwise. `stored_s` (resident
    number -> seconds): how much of the past that resident's pressure mattress kept in its own memory; it is sent at the start.
    `map_every_s`: whole seconds from one pressure map to the next.
    """

    name: str = "ward"
    seed: int = 1
    residents: int = 24
    seconds: float = 600.0
    start_ns: int = 1_760_000_400_000_000_000
    utc_offset_h: float = 8.0
    ward: str = "demo/ward-1"
    kinds: tuple[str, ...] = KINDS_DEFAULT
    ecg_every: int = 1
    accel_rate_hz: int = 50
    bedridden_share: float = 0.3
    turn_interval_s: float = 7200.0
    turn_overrides: dict[int, float] = {}
    map_every_s: int = 1
    stored_s: dict[int, int] = {}
    incidents: tuple[Incident, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    def __post_init__(self) -> None:
        """ValueError, in a sentence, when the scenario cannot be played."""
        unknown = set(self.kinds) - set(KINDS_ALL)
        if unknown:
            raise ValueError(f"the simulator has no kind {sorted(unknown)}; it has {sorted(KINDS_ALL)}")
        if self.residents < 1:
            raise ValueError(f"a ward needs at least 1 resident, got {self.residents}")
        for incident in self.incidents:
            count = self.rooms if incident.kind in ROOM_INCIDENTS else self.residents
            if not 0 <= incident.who < count:
                raise ValueError(
                    f"incident {incident.kind} at {incident.at_s:g} s names number {incident.who}; the ward has 0 to {count - 1}"
                )

    @property
    def rooms(self) -> int:
        """Rooms in the ward, two residents each."""
        return (self.residents + 1) // 2

    @property
    def ecg_wearers(self) -> list[int]:
        """Numbers of the residents with an ECG patch."""
        return list(range(0, self.residents, self.ecg_every)) if self.ecg_every else []

    def turn_interval(self, resident: int) -> float:
        """The longest time (s) this resident may lie without a turn."""
        return self.turn_overrides.get(resident, self.turn_interval_s)


def load(path: Path) -> Scenario:
    """A scenario from a TOML file; msgspec.ValidationError names the field that is wrong."""
    return msgspec.toml.decode(path.read_bytes(), type=Scenario)
