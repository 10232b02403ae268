"""The quality harness on somebody else's folders: other rooms, missing parts, damaged files, one person."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import __main__ as harness
from benchmarks.quality import falls, fire, heart, pressure_injury, subsets
from benchmarks.quality.report import Findings, Part, Report
from streams.recordings.importers import ambient_rooms, fire_rooms
from streams.recordings.importers.fire_rooms import rising
from streams.recordings.intervals import Figure

SUITES = {"falls": falls.PARTS, "heart": heart.PARTS, "pressure_injury": pressure_injury.PARTS, "fire": fire.PARTS}


def lines(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def quiet_room(root: Path, room: str, hours: int = 2) -> None:
    rows = [f"{1_489_021_955 + 300 * i}\t{20 + i % 3 / 10}" for i in range(hours * 12)]
    lines(root / "fire" / "open-smart-home" / "Measurements" / f"{room}_Temperature.csv", *rows)


def gas_sensor(root: Path, name: str) -> None:
    rows = [f"{1_603_526_200 + 10 * i},{i},0,400,17280,14208,25.35,55.7" for i in range(720)]
    lines(root / "fire" / "tug-sgp30-negative" / name, "time,rel. Time,tVOC,CO2eq,Ethanol,H2,Temperature,Rel. Humidity", *rows)


def wrist(root: Path, person: str, activity: str = "D01", seconds: int = 20) -> Path:
    path = root / "weda-fall" / "50Hz" / activity / f"{person}_R01_accel.csv"
    lines(path, "t,x,y,z", *(f"{i / 50:.2f},0.0,0.0,9.81" for i in range(50 * seconds)))
    return path


def run(monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, quality.json and the page of one run on `root`."""
    monkeypatch.setenv("QUALITY_DATA", str(root))
    out = root.parent / "out"
    code = harness.main([*arguments, "--out", str(out)])
    return code, json.loads((out / "quality.json").read_text(encoding="utf-8")), (out / "quality.html").read_text(encoding="utf-8")


def test_every_floor_is_owed_by_a_part() -> None:
    owed = {f"{suite}.{part.name}.{metric}" for suite, parts in SUITES.items() for part in parts for metric in part.owed}
    assert set(harness.load_floors()) <= owed


def test_a_home_without_cables_and_with_rooms_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No CAROLFIRE folder beside the other experiments, rooms that nobody foresaw, two files of one sensor."""
    root = tmp_path / "data"
    (root / "fire" / "firemodels-exp").mkdir(parents=True)
    (root / "fire" / "fsri-compartments-2018").mkdir()
    for room in ("客厅", "Salle de bain", "Salle-de-bain"):
        quiet_room(root, room)
    for name in ("1_living-device1.csv", "2_living-device1.csv"):
        gas_sensor(root, name)
    code, flat, page = run(monkeypatch, root, "fire")
    assert code == 0
    assert flat["finished"]
    assert flat["failed"] == {}
    assert flat["fire.open-smart-home.alarms_per_room_day"] == 0
    assert "3 rooms" in flat["basis"]["fire.open-smart-home.alarms_per_room_day"]
    assert "2 rooms" in flat["basis"]["fire.tug-sgp30-negative.alarms_per_room_day"]
    assert "CAROLFIRE" in flat["not_measured"]["fire.carolfire.cables_alarmed"]
    assert "nothing to measure it on" in flat["not_measured"]["fire.fsri-compartments-2018.rooms_alarmed"]
    assert "fire.carolfire.cables_alarmed" not in flat
    assert "Not measured" in page
    assert "fire.carolfire.cables_alarmed" in page


def test_a_part_that_fails_loses_its_own_figures_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    root = tmp_path / "data"
    wrist(root, "U30")
    quiet_room(root, "attic")

    def broken(_: Path, found: Findings) -> None:
        found.figure("early", Figure(1.0, 1.0, 1.0, "", "known before the failure"))
        raise IndexError("list index out of range")

    monkeypatch.setattr(falls, "PARTS", (Part("broken", "weda-fall", ("early", "late"), broken), *falls.PARTS))
    code, flat, page = run(monkeypatch, root, "falls", "fire")
    assert code == 1
    assert flat["failed"] == {"falls.broken": "IndexError: list index out of range"}
    assert flat["falls.broken.early"] == 1.0
    assert flat["not_measured"]["falls.broken.late"] == "failed: IndexError: list index out of range"
    assert flat["falls.weda-fall.specificity"] == 100
    assert flat["fire.open-smart-home.alarms_per_room_day"] == 0
    assert "IndexError: list index out of range" in page
    assert "FAILED: falls.broken: IndexError" in capsys.readouterr().out


def test_a_suite_that_cannot_start_costs_no_other_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_room(tmp_path / "data", "attic")
    monkeypatch.delattr(falls, "PARTS")
    code, flat, _ = run(monkeypatch, tmp_path / "data", "falls", "fire")
    assert code == 1
    assert list(flat["failed"]) == ["falls"]
    assert flat["not_measured"]["falls.sisfall.sensitivity"].startswith("failed: AttributeError")
    assert flat["fire.open-smart-home.alarms_per_room_day"] == 0


def test_a_figure_is_written_when_it_is_known(tmp_path: Path) -> None:
    report = Report(tmp_path / "quality.json")
    seen: list[dict[str, Any]] = []

    def measure(_: Path, found: Findings) -> None:
        found.share("caught", 3, 4, "of four", "nobody")
        seen.append(json.loads(report.path.read_text(encoding="utf-8")))

    report.run("x", Part("set", ".", ("caught",), measure), tmp_path, lambda _: None)
    assert seen[0]["x.set.caught"] == 75
    assert seen[0]["finished"] is False


def test_nothing_to_hit_is_not_measured_and_no_zero(tmp_path: Path) -> None:
    report = Report(tmp_path / "quality.json")
    found = Findings(report, "x.set", lambda _: None)
    found.share("caught", 0, 0, "of none", "nobody fell")
    found.per("false", 0, 0.0, "1/h", "of none", "nobody was watched")
    assert report.figures == {}
    assert report.not_measured == {"x.set.caught": "nobody fell", "x.set.false": "nobody was watched"}


def test_absent_data_misses_no_floor_and_a_detector_that_never_fires_does() -> None:
    floors = {"fire.a": {"max": 20}, "fire.b": {"min": 90}}
    silent = Figure(math.nan, math.nan, math.nan, "s", "14 fires, no alarm")
    assert harness.check({}, floors) == []
    assert harness.check({"fire.a": silent}, floors) == ["fire.a could not be computed"]
    assert len(harness.check({"fire.b": Figure(80, 70, 90, "%", "")}, floors)) == 1


def test_a_folder_without_any_data_set_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    code, flat, _ = run(monkeypatch, tmp_path / "data")
    assert code == 1
    assert flat["failed"] == {}
    assert len(flat["not_measured"]) == sum(len(part.owed) for parts in SUITES.values() for part in parts)


def test_one_person_has_figures_and_no_interval_over_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    wrist(root, "U30")
    code, flat, page = run(monkeypatch, root, "falls")
    assert code == 0
    assert flat["falls.weda-fall.specificity_older"] == 100
    assert "1 person (no interval over people)" in flat["basis"]["falls.weda-fall.specificity_older"]
    assert "young people" in flat["not_measured"]["falls.weda-fall.specificity_young"]
    assert "no fall" in flat["not_measured"]["falls.weda-fall.sensitivity"]
    assert "nan" not in page


def test_a_fall_without_its_time_is_no_daily_activity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fall_timestamps.csv is missing: taken for daily life, a fall that is caught would be a false alarm."""
    root = tmp_path / "data"
    wrist(root, "U01")
    wrist(root, "U02", "F01")
    _, flat, _ = run(monkeypatch, root, "falls")
    assert "1 daily trials of 1 person" in flat["basis"]["falls.weda-fall.specificity"]
    assert "1 left out" in flat["basis"]["falls.weda-fall.specificity"]
    assert flat["left_out"]["falls.weda-fall"][0].startswith("U02_R01_accel.csv")


def test_damaged_files_are_left_out_and_the_basis_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    wrist(root, "U30")
    whole = wrist(root, "U31").read_bytes()
    wrist(root, "U31").write_bytes(whole[: len(whole) // 2 - 9])
    wrist(root, "U32").write_bytes(b"")
    quiet_room(root, "attic")
    cut = root / "fire" / "open-smart-home" / "Measurements" / "cellar_Temperature.csv"
    lines(cut, *(f"{1_489_021_955 + 300 * i}\t20" for i in range(30)), "14890")
    code, flat, _ = run(monkeypatch, root, "falls", "fire")
    assert code == 0
    basis = flat["basis"]["falls.weda-fall.specificity"]
    assert "1 daily trials of 1 person" in basis
    assert "2 left out (U31_R01_accel.csv: ValueError" in basis
    assert "2 rooms" in flat["basis"]["fire.open-smart-home.alarms_per_room_day"], "a line that is cut off costs that line"


def test_data_of_which_nothing_can_be_read_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    wrist(root, "U30").write_bytes(b"")
    quiet_room(root, "attic")
    code, flat, _ = run(monkeypatch, root, "falls", "fire")
    assert code == 1
    assert "U30_R01_accel.csv" in flat["failed"]["falls.weda-fall"]
    assert "falls.weda-fall.specificity" in flat["not_measured"]


def heart_days(root: Path, seconds: Sequence[float]) -> None:
    lines(root / "nsr2db-rr" / "p1_rr_secs.txt", "0.5", *(f"{rr:.6f}" for rr in seconds))


def test_a_day_without_an_alarm_has_an_upper_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    beats = 0.9 + 0.02 * np.sin(np.arange(4000) / 5)
    heart_days(root, beats.tolist())
    _, flat, _ = run(monkeypatch, root, "heart")
    days = float(beats.sum()) / 86_400
    key = "heart.nsr2db-rr.atrial_fibrillation_per_person_day"
    assert flat[key] == 0
    assert flat[f"{key}.high"] == pytest.approx(3.689 / days, rel=1e-3), "Garwood, not a bootstrap of zeros"
    assert "heart.chf2db-rr.alarms_per_person_day" in flat["not_measured"]


def test_a_person_without_fibrillation_says_nothing_about_finding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    starts = [225 * i for i in range(2000)]
    lines(root / "afdb-rr" / "qrs1.txt", *(f"{start}\t0.9\t{start + 225}" for start in starts))
    lines(root / "afdb-rr" / "atr1.txt", "Elapsed time  Sample #  Type  Sub Chan  Num\tAux", "0:00.120 0 + 0 0 0\t(N")
    lines(root / "afdb-rr" / "qrs2.txt", "0\t0.9\t225")
    code, flat, _ = run(monkeypatch, root, "heart")
    assert code == 0
    assert "no whole minute of atrial fibrillation" in flat["not_measured"]["heart.afdb-rr.af_sensitivity"]
    assert flat["heart.afdb-rr.af_specificity"] == 100
    assert "1 left out (qrs2.txt: FileNotFoundError" in flat["basis"]["heart.afdb-rr.af_specificity"]


def test_alarms_without_their_records_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "data" / "cinc2015" / "ALARMS.csv", "a1,Asystole,1", "a2,Something_New,0")
    code, flat, _ = run(monkeypatch, tmp_path / "data", "heart")
    assert "a1: FileNotFoundError" in flat["left_out"]["heart.cinc2015"][0]
    assert "'Something_New'" in flat["left_out"]["heart.cinc2015"][1]
    assert code == 1


def mattress(root: Path, person: str, postures: Sequence[int]) -> None:
    rng = np.random.default_rng(len(person) + sum(map(ord, person)))
    for number in postures:
        maps = rng.integers(0, 200, (9, 2048))
        lines(root / "pmatdata" / "experiment-i" / person / f"{number}.txt", *("\t".join(map(str, row)) for row in maps.tolist()))


def test_a_person_who_lacks_a_posture_has_accuracy_and_no_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    mattress(root, "S21", (1, 2))
    lines(root / "pmatdata" / "experiment-i" / "S21" / "notes.txt", "left arm moved")
    code, flat, _ = run(monkeypatch, root, "pressure_injury")
    assert flat["failed"] == {}
    assert code in {0, 1}, "random maps may miss a floor"
    assert "pressure_injury.pmatdata.posture_accuracy_shipped" in flat["basis"]
    assert "held out" in flat["not_measured"]["pressure_injury.pmatdata.posture_accuracy"]
    assert "three postures" in flat["not_measured"]["pressure_injury.pmatdata.turn_sensitivity"]
    assert any("notes.txt" in entry for entry in flat["left_out"]["pressure_injury.pmatdata"])


def test_the_burning_room_is_found_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fire in a basement with two probes, higher than the ground floor's; another experiment has no events."""
    folder = tmp_path / "data" / "fire" / "fsri-hvac-gasburner-2019"
    lines(folder / "02_Info" / "Info_Gas_Burner.csv", "Test_Name,Fire_Location", "E22,Basement", "E23,Basement")
    head = "Time,Kitchen Temperature 2.41 m Above Floor,Basement A Temperature 2.41 m Above Floor,Basement A Temperature 2.72 m Above Floor"
    rows = [f"{t},20,20,{20 + max(0, t - 60) * 2},{20 + max(0, t - 60) * 3}" for t in range(200)]
    for name in ("E22", "E23"):
        lines(folder / "01_Data" / f"{name}.csv", head + ",Basement B Temperature 2.72 m Above Floor", *rows)
    lines(folder / "01_Data" / "Events" / "E22_Events.csv", "Time,Event", "60,Ignition")
    code, flat, _ = run(monkeypatch, tmp_path / "data", "fire")
    key = "fire.fsri-hvac-gasburner-2019.fire_room_alarm_s"
    assert flat["failed"] == {}
    assert 0 < flat[key] < 60
    assert "Basement" in flat["basis"][key]
    assert "1 left out (E23.csv: FileNotFoundError" in flat["basis"][key]
    assert code in {0, 1}


def test_smoke_blocks_are_found_and_what_nobody_looked_through_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{block},{t},21,40,5" for block in "AXM" for t in range(100, 400)]
    lines(tmp_path / "data" / "fire" / "smoke-detection-iot" / "any name.csv", "block,t,T,Humidity,PM25", *rows)
    _, flat, _ = run(monkeypatch, tmp_path / "data", "fire")
    assert flat["left_out"]["fire.smoke-detection-iot"] == ["block X: nobody has looked through it for smoke"]
    assert "no whole span" in flat["not_measured"]["fire.smoke-detection-iot.smoke_spans_caught"], "M begins after its smoke did"
    assert flat["fire.smoke-detection-iot.clean_air_alarms_per_room_day"] == 0


def test_times_that_jump_or_are_missing_are_left_out() -> None:
    times = np.array([0.0, 1.0, np.nan, 5.0, 2.0, 3.0, 6.0])
    assert rising(times).tolist() == [True, True, False, True, False, False, True]
    assert rising(np.zeros(0)).tolist() == []


def test_names_of_rooms_become_subjects(tmp_path: Path) -> None:
    assert fire_rooms.subject_of("Bedroom (north)", "客厅 2") == "room/Bedroom-north-客厅-2"
    quiet_room(tmp_path, "Wohnküche")
    assert ambient_rooms.rooms_with_temperature(tmp_path / "fire" / "open-smart-home") == ["Wohnküche"]


def test_a_budget_is_spread_and_said(tmp_path: Path) -> None:
    found = Findings(Report(tmp_path / "q.json", records=3), "x.set", lambda _: None)
    assert found.few(list(range(10))) == [0, 3, 6]
    assert found.few([1]) == [1]
    found.share("caught", 1, 2, "of two", "nobody")
    assert "at most 3 records" in json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))["basis"]["x.set.caught"]


def test_a_subset_is_the_same_for_the_same_seed_and_never_touches_the_data(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for room in ("Kitchen", "Room1"):
        quiet_room(root, room)
    for name in ("a.csv", "b.csv"):
        gas_sensor(root, name)
    for number in range(20):
        wrist(root, f"U{number:02}", seconds=1)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    made = []
    for attempt in ("one", "two"):
        told = [subsets.subset(random.Random(f"3/{i}"), root, tmp_path / attempt / str(i)) for i in range(4)]
        files = {path.relative_to(tmp_path / attempt): path.read_bytes() for path in (tmp_path / attempt).rglob("*") if path.is_file()}
        made.append((told, files))
    assert made[0] == made[1]
    assert len({tuple(told) for told in made[0][0]}) == 4
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
