"""Real fires alarm and a real room's day does not, through the real core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.fire import ALARMS
from schemas.recording import START_NS
from streams.recordings.format import Builder
from streams.recordings.importers import ambient_rooms, fire_rooms, nist_smoke_alarms
from streams.recordings.replay import replay

pytestmark = pytest.mark.data


def test_every_station_with_a_real_alarm_alarms(data_root: Path) -> None:
    folder = data_root / "fire" / "firemodels-exp" / "NIST_Smoke_Alarms"
    real = nist_smoke_alarms.alarms(folder)
    result = replay(nist_smoke_alarms.fire(folder, *nist_smoke_alarms.tests(folder)))
    assert result.rejects == []
    assert {event.subject for event in result.events if event.code in ALARMS} >= set(real)
    assert not [event for event in result.events if event.code == "fire.co"], "an analyser's offset is no fire"
    median_s = np.median(
        [
            min(e.decided_ns for e in result.events if e.subject == room and e.code in ALARMS) / 1e9 - START_NS / 1e9 - at
            for room, alarms in real.items()
            for at in alarms.values()
        ]
    )
    assert median_s < 10


def test_a_burning_armchair_alarms_in_every_quadrant(data_root: Path) -> None:
    path = next(p for p in fire_rooms.compartments(data_root / "fire" / "fsri-compartments-2018") if p.stem.startswith("RedAccent"))
    recording = fire_rooms.compartment(path)
    lit = {truth.subject: truth.start_ns for truth in recording.truth}
    events = [event for event in replay(recording).events if event.phase == "onset"]
    assert {event.subject for event in events if event.code in ALARMS} == set(lit)
    assert all(event.decided_ns > lit[event.subject] for event in events)


def test_a_heated_cable_alarms(data_root: Path) -> None:
    recording = fire_rooms.cables(fire_rooms.cable_tests(data_root / "fire" / "firemodels-exp")[0])
    subjects = {binding.subject for binding in recording.registry.bindings}
    assert {event.subject for event in replay(recording).events if event.code == "fire.cable_heat"} == subjects


def test_an_ordinary_day_is_quiet(data_root: Path) -> None:
    builder = Builder("quiet", "see streams/recordings/importers/ambient_rooms.py")
    fire = data_root / "fire"
    rooms = [ambient_rooms.occupancy(builder, path, days=0.5) for path in sorted((fire / "uci-occupancy-detection").glob("data*.txt"))]
    rooms.append(ambient_rooms.smart_home(builder, fire / "open-smart-home", "Kitchen", days=0.5))
    result = replay(builder.build())
    assert [event for event in result.events if event.code.startswith("fire.")] == []
    assert all(result.exposure_s[room] > 3600 for room in rooms)
