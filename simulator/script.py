"""The story of a ward, second by second: which incidents are under way, what they make people do, and what is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.frame import NS_PER_S, Bool, Float64
from schemas.recording import Truth
from simulator.cardiac import Rhythm
from simulator.motion import FALLS, Fall, make_fall
from simulator.rooms import Course, Rooms, smoulder, steam
from simulator.routine import Activity, Forced, Posture
from simulator.scenario import Incident, Scenario

LEAD_S: Final = 20.0
"""Somebody who is to fall first gets up and walks."""
FIRE_STEP_S: Final = 0.5
LONG_AGO_S: Final = -1e9
RISING_S: Final = 6.0
AFTERMATH_S: Final = 1200.0
"""Smoke and steam linger this long."""
CAMERA_DELAY_S: Final = 3.0
CAMERA_EVERY: Final = 4
"""Every fourth resident's room has a camera that reports falls."""
DESATURATION_S: Final = 30.0
TOILET_DOOR_S: Final = 2.0

# Rate in beats/min that an incident takes when it names none; and whether it comes at once (paroxysmal) or builds up.
RHYTHMS: Final = {
    "tachycardia": (Rhythm.SINUS, 155.0, False),
    "bradycardia": (Rhythm.SINUS, 32.0, False),
    "atrial_fibrillation": (Rhythm.ATRIAL_FIBRILLATION, 98.0, True),
    "ventricular_tachycardia": (Rhythm.VENTRICULAR_TACHYCARDIA, 185.0, True),
    "ventricular_fibrillation": (Rhythm.VENTRICULAR_FIBRILLATION, 0.0, True),
    "asystole": (Rhythm.ASYSTOLE, 0.0, True),
}
STEAM_OD_PER_M: Final = 0.01
"""0.1 dB/m: seen by a smoke detector, at or below the 0.1 to 0.15 dB/m at which common ones alarm. A shower under one gives more."""
SPO2_LOW_PERCENT: Final = 82.0
# What is true of a room on fire, by the channel and the level a standard names: GB 50116-2013 9.2.3 (residual current),
# GB 14287.3 (cable, 70 C), EN 54-7 (0.05 dB/m = 0.005 1/m, the least sensitive limit taken four times), UL 2034 (400 ppm
# within 15 min, as a dose: in so short a time next to nothing is breathed out), EN 54-5 (a rise of 10 K/min; class A1 heat, 10 K below
# its 56 C because the rise is fast).
RESIDUAL_MA: Final = 300.0
CABLE_C: Final = 70.0
CO_AIR_PPM: Final = 30.0
SMOKE_OD_PER_M: Final = 0.02
CO_PPM_MIN: Final = 6000.0
HEAT_FAST_C: Final = 46.0
RISE_K_PER_MIN: Final = 10.0

# How the heart rate follows what one does, in beats/min over rest, by Activity.
EFFORT_BPM: Final = np.array([0.0, 4.0, 9.0, 20.0, 16.0, 22.0, 7.0])


class Hearts(NamedTuple):
    """What the hearts are told to do: rhythm int8 (n,), rate (n,) in beats/min, NaN = as effort asks, abrupt (n,)."""

    rhythm: NDArray[np.int8]
    bpm: Float64
    abrupt: Bool


def resident_id(number: int) -> str:
    """Pseudonym of resident `number` as a subject."""
    return f"resident/r-{number + 1:03d}"


def room_id(number: int) -> str:
    """Room `number` as a subject: rooms 101, 102, ... of the ward."""
    return f"room/{101 + number}"


class Script:
    """Answers what is under way at a second; pure but for the falls, which are drawn once per incident and kept."""

    def __init__(self, scenario: Scenario, rooms: Rooms) -> None:
        self.scenario = scenario
        self._rooms = rooms
        self._falls: dict[tuple[float, int], Fall] = {}

    def instances(self, from_s: float, to_s: float) -> Iterator[Incident]:
        """Incidents (repetitions unrolled) whose start lies in [from_s, to_s)."""
        for incident in self.scenario.incidents:
            if not incident.every_s:
                if from_s <= incident.at_s < to_s:
                    yield incident
                continue
            count = self.scenario.rooms if incident.kind in {"smoulder", "steam"} else self.scenario.residents
            k = max(0, int(np.ceil((from_s - incident.at_s) / incident.every_s)))
            while (at_s := incident.at_s + k * incident.every_s) < to_s:
                yield msgspec.structs.replace(incident, at_s=at_s, who=(incident.who + k * incident.stride) % count, every_s=0.0)
                k += 1

    def active(self, second: int) -> list[Incident]:
        """Incidents that touch [second, second + 1), with the lead before a fall and the aftermath of smoke."""
        longest = max((i.duration_s for i in self.scenario.incidents), default=0.0)
        return [
            i
            for i in self.instances(second - longest - AFTERMATH_S - 1, second + 1 + LEAD_S)
            if i.at_s - LEAD_S < second + 1 and second < i.at_s + i.duration_s + (AFTERMATH_S if i.kind in {"smoulder", "steam"} else 5.0)
        ]

    def fall_of(self, incident: Incident) -> Fall:
        """The fall of a fall or near_fall incident, the same each time it is asked for."""
        key = (incident.at_s, incident.who)
        if key not in self._falls:
            rng = np.random.default_rng([self.scenario.seed, 7, int(1000 * incident.at_s), incident.who])
            variant = incident.variant or list(FALLS)[int(rng.integers(len(FALLS)))]
            if len(self._falls) > 1000:
                self._falls.clear()
            self._falls[key] = make_fall(incident.who, incident.at_s, variant, rng, recovers=incident.kind == "near_fall")
        return self._falls[key]

    def forced(self, second: int, active: list[Incident]) -> Forced:
        """What incidents make people do."""
        forced: Forced = {}
        for incident in active:
            t = second - incident.at_s
            if incident.kind in {"fall", "near_fall"}:
                down = 0.0 if incident.kind == "near_fall" else incident.duration_s
                if t < -15:
                    forced[incident.who] = Activity.SITTING, Posture.SUPINE
                elif t < -12:
                    forced[incident.who] = Activity.STANDING, Posture.SUPINE
                elif t <= -1:
                    forced[incident.who] = Activity.WALKING, Posture.SUPINE
                elif t < down:
                    forced[incident.who] = Activity.FLOOR, Posture.SUPINE
                elif t < down + RISING_S:
                    forced[incident.who] = Activity.RISING, Posture.SUPINE
            elif incident.kind in {"no_turn", "moisture"} and 0 <= t < incident.duration_s:
                forced[incident.who] = Activity.BED, Posture[(incident.variant or "supine").upper()]
            elif incident.kind in RHYTHMS and t < incident.duration_s:
                forced.setdefault(incident.who, (Activity.BED, Posture.SUPINE))
        return forced

    def falls(self, active: list[Incident]) -> list[Fall]:
        """Falls whose movement may touch this second."""
        return [self.fall_of(i) for i in active if i.kind in {"fall", "near_fall"}]

    def hearts(self, second: int, active: list[Incident]) -> Hearts:
        """Rhythm and rate that incidents command."""
        n = self.scenario.residents
        told = Hearts(np.zeros(n, np.int8), np.full(n, np.nan), np.zeros(n, np.bool_))
        for incident in _during(active, second):
            if incident.kind in RHYTHMS:
                rhythm, bpm, abrupt = RHYTHMS[incident.kind]
                told.rhythm[incident.who] = rhythm
                told.bpm[incident.who] = incident.level or bpm or np.nan
                told.abrupt[incident.who] = abrupt
        return told

    def worn(self, second: int, active: list[Incident], kind: str) -> Bool:
        """Who has the trouble `kind` ("off_body", "lead_off") now, (n,)."""
        mask = np.zeros(self.scenario.residents, np.bool_)
        for incident in _during(active, second):
            if incident.kind == kind:
                mask[incident.who] = True
        return mask

    def spo2(self, second: int, active: list[Incident], rest: Float64) -> Float64:
        """Oxygen saturation in percent (n,): it sinks over half a minute and comes back as fast."""
        value = rest.copy()
        for incident in active:
            if incident.kind == "spo2_low":
                t = second - incident.at_s
                depth = np.clip(min(t, incident.duration_s + DESATURATION_S - t) / DESATURATION_S, 0, 1)
                value[incident.who] += depth * ((incident.level or SPO2_LOW_PERCENT) - value[incident.who])
        return value

    def moisture(self, second: int, active: list[Incident]) -> Float64:
        """Moisture of each bed, 0..1."""
        value = np.full(self.scenario.residents, 0.03)
        for incident in _during(active, second):
            if incident.kind == "moisture":
                value[incident.who] = min(1.0, 0.03 + (second - incident.at_s) / 30)
        return value

    def courses(self, second: int, active: list[Incident]) -> dict[int, Course]:
        """What the air and the wires of rooms in trouble read beyond the ordinary."""
        courses: dict[int, Course] = {}
        for incident in active:
            if incident.kind in {"smoulder", "steam"} and second >= incident.at_s:
                t = np.array([second - incident.at_s])
                fire = incident.kind == "smoulder"
                length = incident.duration_s
                courses[incident.who] = smoulder(t, length) if fire else steam(t, length, incident.level or STEAM_OD_PER_M)
        return courses

    def truth(self, until_s: float) -> tuple[Truth, ...]:
        """All that is true of incidents that start before until_s, in order of time."""
        found = [entry for incident in self.instances(LONG_AGO_S, until_s) for entry in self._truth_of(incident)]
        return tuple(sorted(found, key=lambda entry: (entry.start_ns, entry.subject, entry.code)))

    def _truth_of(self, incident: Incident) -> Iterator[Truth]:
        who = resident_id(incident.who)
        at, end = incident.at_s, incident.at_s + incident.duration_s
        if incident.kind == "fall":
            yield self._entry(who, "falls.fall", at, end, incident.variant)
            if incident.who % CAMERA_EVERY == 0 and "camera_event" in self.scenario.kinds:
                yield self._entry(who, "camera.fall", at + CAMERA_DELAY_S, end)
        elif incident.kind == "sos":
            yield self._entry(who, "sos.pressed", at, at + 1)
        elif incident.kind in RHYTHMS:
            yield self._entry(who, f"heart.{incident.kind}", at, end, f"{incident.level:g} beats/min" if incident.level else "")
        elif incident.kind == "spo2_low":
            yield self._entry(who, "heart.spo2_low", at + DESATURATION_S, end)
        elif incident.kind == "moisture":
            yield self._entry(who, "pressure_injury.moisture", at, end)
        elif incident.kind == "no_turn":
            interval = self.scenario.turn_interval(incident.who)
            if interval < incident.duration_s:
                yield self._entry(who, "pressure_injury.turn_overdue", at + interval, end, f"lying still from {at:g} s")
        elif incident.kind == "smoulder":
            yield from self._fire_truth(incident)

    def _fire_truth(self, incident: Incident) -> Iterator[Truth]:
        t = np.arange(0.0, incident.duration_s + AFTERMATH_S, FIRE_STEP_S)
        course = smoulder(t, incident.duration_s)
        air, residual, cable = self._rooms.ordinary(incident.who)
        rise = 60 / FIRE_STEP_S * np.diff(course.temperature_k, prepend=0.0)
        for code, value, level in (
            ("fire.residual_current", residual + course.residual_ma, RESIDUAL_MA),
            ("fire.cable_heat", cable + course.cable_k, CABLE_C),
            ("fire.smoke", course.smoke_od_per_m, SMOKE_OD_PER_M),
            ("fire.co", np.where(course.co_ppm > CO_AIR_PPM, np.cumsum(course.co_ppm) * FIRE_STEP_S / 60, 0.0), CO_PPM_MIN),
            ("fire.heat", air + course.temperature_k, HEAT_FAST_C),
            ("fire.rate_of_rise", rise, RISE_K_PER_MIN),
        ):
            above = np.flatnonzero(value > level)
            if above.size:
                start, end = incident.at_s + t[above[0]], incident.at_s + t[above[-1]]
                yield self._entry(room_id(incident.who), code, start, end, f"above {level:g}")

    def _entry(self, subject: str, code: str, start_s: float, end_s: float, note: str = "") -> Truth:
        start = self.scenario.start_ns
        return Truth(subject, code, start + round(start_s * NS_PER_S), start + round(end_s * NS_PER_S), note)


def _during(active: list[Incident], second: int) -> Iterator[Incident]:
    return (i for i in active if i.at_s <= second < i.at_s + i.duration_s)
