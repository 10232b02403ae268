"""Fire on recordings: seconds against the real alarms of the same station, room fires caught, and rooms left in peace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.quality.report import Findings, Part
from engine.frame import NS_PER_S
from schemas.recording import START_NS, Recording, Truth
from streams.recordings.format import Builder
from streams.recordings.importers import ambient_rooms, fire_rooms, nist_smoke_alarms
from streams.recordings.intervals import Figure, by_person
from streams.recordings.replay import Replayed, replay

ALARMS: Final = ("fire.smoke", "fire.heat", "fire.rate_of_rise", "fire.co")
PREWARNING: Final = "fire.prewarning"
ARMCHAIR: Final = "RedAccent"
CABLE: Final = "fire.cable_heat"
QUIET_DAYS: Final = 3.0
"""Of every quiet room. The clock ticks once a second in a replay: three days cost seconds, the whole quarter would cost minutes."""
DAY_S: Final = 86_400.0
HOUR_S: Final = 3600.0


class Room(NamedTuple):
    """What Vigil said about one room, by code: seconds from the start of the recording to each onset, and the readings then."""

    subject: str
    onsets: tuple[tuple[str, float, dict[str, float]], ...]
    fire_s: float
    """When the fire starts; NaN where nothing burns."""

    def first_s(self, codes: Sequence[str]) -> float:
        """Seconds from the fire's start to the first onset after it; NaN when there was none."""
        return min((at for code, at, _ in self.onsets if code in codes and at >= self.fire_s), default=float("nan")) - self.fire_s

    def count(self, codes: Sequence[str], start_s: float = 0.0, end_s: float = float("inf")) -> int:
        """Onsets within a span."""
        return sum(code in codes and start_s <= at < end_s for code, at, _ in self.onsets)


def _rooms(recording: Recording, result: Replayed) -> list[Room]:
    """Every bound room of a replayed recording; onsets count from the moment they were decided."""
    lit: dict[str, Truth] = {}
    for entry in recording.truth:
        lit.setdefault(entry.subject, entry)
    by_subject: dict[str, list[tuple[str, float, dict[str, float]]]] = {}
    for event in result.events:
        if event.phase == "onset":
            by_subject.setdefault(event.subject, []).append((event.code, (event.decided_ns - START_NS) / NS_PER_S, event.values))
    subjects = dict.fromkeys(binding.subject for binding in recording.registry.bindings)
    return [
        Room(
            subject,
            tuple(by_subject.get(subject, ())),
            (lit[subject].start_ns - START_NS) / NS_PER_S if subject in lit else float("nan"),
        )
        for subject in subjects
    ]


def _median_s(values: Sequence[float], basis: str) -> Figure:
    """Median of the finite ones, resampled by room or station."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return Figure(float("nan"), float("nan"), float("nan"), "s", basis)
    return by_person(finite, lambda chosen: float(np.median(chosen)), "s", basis)


def _nist(folder: Path, found: Findings) -> None:
    names = found.few(nist_smoke_alarms.tests(folder))
    found.say(f"nist: {len(names)} fires")
    recording = nist_smoke_alarms.fire(folder, *names, unreadable=found.unreadable)
    rooms = _rooms(recording, replay(recording))
    if not rooms:
        return
    quiet = [room for room in rooms if room.count(("fire.co",))]
    basis = f"NIST TN 1455: {len(names)} flaming fires, {len(rooms)} stations; stations with a CO alarm (analysers start with offsets)"
    found.share("co_alarms_from_offset", len(quiet), len(rooms), basis, "there is no station")
    real = found.read("Activation_Times.csv", nist_smoke_alarms.alarms, folder)
    if real is None:
        return
    heard = [room for room in rooms if real.get(room.subject)]
    basis = f"NIST TN 1455: {len(names)} flaming fires, {len(heard)} stations with real alarms; negative = before the real alarm"
    pairs = {
        room.subject: [room.first_s(ALARMS) - at for at in real[room.subject].values()]
        for room in heard
        if np.isfinite(room.first_s(ALARMS))
    }

    def of(kind: str) -> list[list[float]]:
        stations = [
            [room.first_s(ALARMS) - at for name, at in real[room.subject].items() if name.startswith(kind)]
            for room in heard
            if room.subject in pairs
        ]
        return [station for station in stations if station] or stations

    def pooled(stations: Sequence[list[float]]) -> float:
        values = [value for station in stations for value in station]
        return float(np.median(values)) if values else float("nan")

    all_basis = f"{basis}; median over all pairs of station and real alarm, resampled by station"
    for metric, kind, note in (
        ("seconds_vs_real_alarm", "", ""),
        ("seconds_vs_photoelectric_alarm", "Pho", "; photoelectric alarms only"),
        ("seconds_vs_ionisation_alarm", "Ion", "; ionisation alarms only"),
    ):
        if any(name.startswith(kind) for room in heard for name in real[room.subject]):
            found.figure(metric, by_person(of(kind), pooled, "s", all_basis + note))
        else:
            found.absent(metric, f"no real alarm of this kind sounded at the {len(rooms)} stations here")
    if heard:
        found.figure("seconds_vs_first_real_alarm", _median_s([max(pair) for pair in pairs.values()], basis))
    found.share("stations_alarmed", len(pairs), len(heard), basis, f"no real alarm sounded at the {len(rooms)} stations here")


def _room_fires(rooms: list[Room], basis: str, found: Findings) -> None:
    delays = [room.first_s(ALARMS) for room in rooms]
    waiting_h = sum(max(0.0, room.fire_s) for room in rooms) / HOUR_S
    early = sum(room.count(ALARMS, 0.0, room.fire_s) for room in rooms)
    basis = f"{basis}, {len(rooms)} ceiling probes"
    found.figure("alarm_s", _median_s(delays, f"{basis}; median seconds from ignition to the first alarm where there was one"))
    found.share("rooms_alarmed", int(np.isfinite(delays).sum()), len(rooms), basis, "there is no room")
    early_basis = f"{basis}; {waiting_h:.1f} h before ignition"
    found.per(
        "alarms_before_ignition_per_room_hour", early, waiting_h, "per room-hour", early_basis, "no time before the ignition was recorded"
    )


def _compartments(folder: Path, found: Findings) -> None:
    paths = found.few(fire_rooms.compartments(folder))
    found.say(f"fsri-compartments-2018: {len(paths)} experiments")
    recording = fire_rooms.compartment(*paths, unreadable=found.unreadable)
    rooms = _rooms(recording, replay(recording))
    if not rooms:
        return
    _room_fires(rooms, f"FSRI compartments, {len(paths)} experiments", found)
    chairs = [room.first_s(ALARMS) for room in rooms if ARMCHAIR in room.subject]
    if chairs:
        basis = (
            f"FSRI compartments, armchair fires, {len(chairs)} ceiling probes; the only fuel there that grows as slowly as furniture does"
        )
        found.figure("red_accent_chair_alarm_s", _median_s(chairs, basis))
    else:
        found.absent("red_accent_chair_alarm_s", f"none of the {len(paths)} experiments here burns that armchair")


def _hvac(folder: Path, found: Findings) -> None:
    fires = found.read("02_Info/Info_Gas_Burner.csv", fire_rooms.hvac_experiments, folder)
    if fires is None:
        return
    fires = found.few(fires)
    found.say(f"fsri-hvac-gasburner-2019: {len(fires)} experiments")
    recording = fire_rooms.hvac_house(*fires, unreadable=found.unreadable)
    rooms = {room.subject: room for room in _rooms(recording, replay(recording))}
    if not rooms:
        return
    places = sorted({fire.place for fire in fires})
    basis = f"FSRI HVAC house, {len(fires)} burner fires in {', '.join(places)}, heat only"
    _room_fires(list(rooms.values()), f"{basis} (experiments 10 and 14 start in a room still hot from the one before)", found)
    first_s = []
    for fire in fires:
        start = fire_rooms.subject_of(fire.path.stem, fire.place)
        own = [room.first_s(ALARMS) for subject, room in rooms.items() if subject == start or subject.startswith(f"{start}-")]
        if own:
            first_s.append(min(own, key=lambda s: s if np.isfinite(s) else float("inf")))
    if first_s:
        found.figure("fire_room_alarm_s", _median_s(first_s, f"{basis}; the burning room, in {len(first_s)} fires"))
    else:
        found.absent("fire_room_alarm_s", f"no burning room ({', '.join(places)}) has a probe under its ceiling")


def _cables(folder: Path, found: Findings) -> None:
    paths = found.few(fire_rooms.cable_tests(folder.parent))
    found.say(f"carolfire: {len(paths)} tests")
    recording = fire_rooms.cables(*paths, unreadable=found.unreadable)
    rooms = _rooms(recording, replay(recording))
    if not rooms:
        return
    hot = [values["cable_temperature_c"] for room in rooms for code, _, values in room.onsets[:1] if code == CABLE]
    basis = f"CAROLFIRE: {len(paths)} tests, {len(rooms)} heated cables"
    found.share("cables_alarmed", len(hot), len(rooms), basis, "there is no cable")
    median = by_person(
        hot, lambda chosen: float(np.median(chosen)) if len(chosen) else float("nan"), "°C", f"{basis}; cable temperature at the decision"
    )
    found.figure("cable_c_at_alarm", median)


def _quiet(source: str, rooms: Sequence[tuple[str, Callable[..., str]]], found: Findings, days_max: float = QUIET_DAYS) -> None:
    """`rooms` of a set in which nothing burns, by name and what adds each to a builder: all in one home, so that the clock ticks once
    for all of them."""
    builder = Builder(f"quiet rooms of {source}", "see streams/recordings/importers/ambient_rooms.py")
    days_max = days_max if found.records_max is None else min(days_max, found.records_max)
    read = ((found.read(name, add, builder, days=days_max)) for name, add in found.each(rooms, lambda room: room[0]))
    subjects = [subject for subject in read if subject is not None]
    if not subjects:
        return
    recording = builder.build()
    result = replay(recording)
    by_subject = {room.subject: room for room in _rooms(recording, result)}
    days = sum(result.exposure_s.get(subject, 0.0) for subject in subjects) / DAY_S
    basis = f"{ambient_rooms.SOURCES.get(source, source)}: {len(subjects)} rooms, {days:.2f} room-days without a fire"
    for metric, codes in (("alarms_per_room_day", ALARMS), ("prewarnings_per_room_day", (PREWARNING,))):
        count = sum(by_subject[subject].count(codes) for subject in subjects)
        found.per(metric, count, days, "per room-day", basis, f"{len(subjects)} rooms, and no time in which they were watched")


def _occupancy(folder: Path, found: Findings) -> None:
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".txt", ".csv"})
    _quiet(folder.name, [(path.name, partial(ambient_rooms.occupancy, path=path)) for path in paths], found)


def _smart_home(folder: Path, found: Findings) -> None:
    names = ambient_rooms.rooms_with_temperature(folder)
    _quiet(folder.name, [(name, partial(ambient_rooms.smart_home, folder=folder, room=name)) for name in names], found)


def _gas_sensor(as_co: bool, folder: Path, found: Findings) -> None:
    rooms = [(path.name, partial(ambient_rooms.gas_sensor, path=path, as_co=as_co)) for path in sorted(folder.glob("*.csv"))]
    _quiet(folder.name, rooms, found, float("inf"))


def _iot(folder: Path, found: Findings) -> None:
    builder = Builder("smoke-detection-iot", ambient_rooms.SOURCES["smoke-detection-iot"])
    clean: list[str] = []
    blocks = [(path, block) for path in sorted(folder.glob("*.csv")) for block in found.read(path.name, ambient_rooms.blocks, path) or ()]
    for path, block in found.each(blocks, lambda one: f"block {one[1]}"):
        spans = ambient_rooms.IOT_SMOKE_S.get(block)
        if spans is None:
            found.leave_out(f"block {block}", "nobody has looked through it for smoke")
            continue
        room = found.read(f"block {block}", ambient_rooms.iot, builder, path, block)
        if room is not None and not spans:
            clean.append(room)
    recording = builder.build()
    result = replay(recording)
    rooms = {room.subject: room for room in _rooms(recording, result)}
    if not rooms:
        return
    delays = []
    for truth in recording.truth:
        start_s, end_s = ((at - START_NS) / NS_PER_S for at in (truth.start_ns, truth.end_ns))
        onsets = rooms[truth.subject].onsets
        delays.append(min((at - start_s for code, at, _ in onsets if code in ALARMS and start_s <= at < end_s), default=float("nan")))
    clean_days = sum(result.exposure_s.get(subject, 0.0) for subject in clean) / DAY_S
    false = sum(rooms[subject].count(ALARMS) for subject in clean)
    basis = "smoke-detection-iot: smoke and clean air by particle counts (its own label is a session flag); smoke from PM2.5"
    found.share("smoke_spans_caught", int(np.isfinite(delays).sum()), len(delays), basis, "no whole span of smoke is here")
    if delays:
        delay_basis = f"{basis}; seconds from the first particles, NaN rows of the particle sensor included"
        found.figure("alarm_s", _median_s(delays, delay_basis))
    else:
        found.absent("alarm_s", "no whole span of smoke is here")
    clean_basis = f"{basis}; block A, {clean_days:.2f} days (C is heated to 46 °C before its smoke, not counted)"
    found.per("clean_air_alarms_per_room_day", false, clean_days, "per room-day", clean_basis, "no block of clean air is here")


_ROOM_FIRES: Final = ("alarm_s", "rooms_alarmed", "alarms_before_ignition_per_room_hour")
_DAILY: Final = ("alarms_per_room_day", "prewarnings_per_room_day")
_NIST: Final = tuple(f"seconds_vs_{which}_alarm" for which in ("real", "photoelectric", "ionisation", "first_real"))
PARTS: Final = (
    Part("nist", "fire/firemodels-exp/NIST_Smoke_Alarms", (*_NIST, "stations_alarmed", "co_alarms_from_offset"), _nist),
    Part("fsri-compartments-2018", "fire/fsri-compartments-2018", (*_ROOM_FIRES, "red_accent_chair_alarm_s"), _compartments),
    Part("fsri-hvac-gasburner-2019", "fire/fsri-hvac-gasburner-2019", (*_ROOM_FIRES, "fire_room_alarm_s"), _hvac),
    Part("carolfire", "fire/firemodels-exp/CAROLFIRE", ("cables_alarmed", "cable_c_at_alarm"), _cables),
    Part("smoke-detection-iot", "fire/smoke-detection-iot", ("smoke_spans_caught", "alarm_s", "clean_air_alarms_per_room_day"), _iot),
    Part("uci-occupancy-detection", "fire/uci-occupancy-detection", _DAILY, _occupancy),
    Part("open-smart-home", "fire/open-smart-home", _DAILY, _smart_home),
    Part("tug-sgp30-negative", "fire/tug-sgp30-negative", _DAILY, partial(_gas_sensor, False)),
    Part("tug-sgp30-negative-as-co", "fire/tug-sgp30-negative", _DAILY, partial(_gas_sensor, True)),
)
