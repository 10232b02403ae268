"""Importers of the recorded sets, on tiny files of the same form and, where they are, on the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import falls as quality
from benchmarks.quality.report import Findings, Report
from engine.frame import NS_PER_S
from streams.recordings.format import Builder
from streams.recordings.importers import sisfall, smartfallmm, sp_sw_har, uci_rfid, weda_fall
from streams.recordings.importers.trials import FALL, Signal, Trial, cohort, put, recording, snap, unburst
from streams.recordings.replay import replay

STEP = np.arange(100.0)[:, np.newaxis] * [1.0, 0.0, 0.0]


def test_bursts_go_back_on_the_even_grid() -> None:
    t_s = np.repeat(np.arange(20) * 0.1, 5) + np.tile(np.arange(5) * 0.002, 20) + 0.09
    rate_hz, grid = unburst(t_s, STEP, 50.0)
    assert rate_hz in {50.0, 51.0, 52.0}
    np.testing.assert_array_equal(grid[:, 0], np.arange(100))


def test_a_silence_longer_than_a_burst_becomes_nan() -> None:
    t_s = np.arange(100) / 50.0
    t_s[50:] += 1.0
    rate_hz, grid = unburst(t_s, STEP, 50.0)
    assert rate_hz == 50.0
    missing = np.isnan(grid[:, 0])
    assert 0.6 <= missing.sum() / rate_hz <= 1.1
    np.testing.assert_array_equal(grid[~missing, 0], np.arange(100))


def test_true_stamps_move_by_less_than_half_a_period() -> None:
    grid = snap(np.array([0.0, 0.021, 0.039, 0.1]), STEP[:4], 50.0)
    np.testing.assert_array_equal(grid[:, 0], [0, 1, 2, np.nan, np.nan, 3])


def test_broken_stamps_are_refused() -> None:
    with pytest.raises(ValueError, match="broken"):
        snap(np.array([0.0, 1e6]), STEP[:2], 50.0)
    with pytest.raises(ValueError, match="broken"):
        unburst(np.array([0.0, np.nan]), STEP[:2], 50.0)


def test_sisfall(tmp_path: Path) -> None:
    trial = np.zeros((600, 6), np.int16)
    trial[:, 1] = -256
    trial[400] = 2048
    np.savez(tmp_path / "SA01.npz", F01_SA01_R01=trial, D01_SA01_R01=trial)
    np.savez(tmp_path / "SE02.npz", D07_SE02_R03=trial)
    daily, fall, older = sisfall.trials(tmp_path)
    assert [t.older for t in (daily, fall, older)] == [False, False, True]
    assert daily.falls == older.falls == ()
    assert fall.falls[0][:2] == (1.0, 3.0)
    assert fall.signal.samples[0].tolist() == [0.0, -1.0, 0.0]
    assert fall.signal.samples[400].tolist() == [8.0, 8.0, 8.0]
    assert fall.seconds == 3.0


def test_weda_fall(tmp_path: Path) -> None:
    (tmp_path / "fall_timestamps.csv").write_text("\ufefffilename,start_time,end_time\nF01/U01_R02,4.7,7.7\n", encoding="utf-8")
    for activity, name in (("F01", "U01_R02"), ("D10", "U21_R01")):
        folder = tmp_path / "50Hz" / activity
        folder.mkdir(parents=True)
        rows = "\n".join(f"{i * 0.02:.3f},0.0,0.0,9.8" for i in range(100))
        (folder / f"{name}_accel.csv").write_text(f"accel_time_list,accel_x_list,accel_y_list,accel_z_list\n{rows}\n", encoding="utf-8")
    daily, fall = weda_fall.trials(tmp_path)
    assert (daily.person, daily.older, daily.falls) == ("U21", True, ())
    assert (fall.person, fall.older, fall.falls) == ("U01", False, ((4.7, 7.7, "labelled"),))
    assert fall.signal.rate_hz == 50.0
    assert fall.signal.unit == "m/s2"


def test_smartfallmm(tmp_path: Path) -> None:
    watch = tmp_path / "old" / "accelerometer" / "watch"
    hip = tmp_path / "young" / "accelerometer" / "meta_hip"
    for folder in (watch, hip, tmp_path / "old" / "accelerometer" / "toaster"):
        folder.mkdir(parents=True)
    rows = [f"2023-03-27 17:21:{i / 32:09.6f},0.0,9.8,0.0" for i in range(64)]
    (watch / "S04A07T02.csv").write_text("\n".join(rows), encoding="utf-8")
    rows = ["epoch (ms),time,elapsed (s),x,y,z", *(f"{1000 + 20 * i},t,0,0.0,1.0,0.0" for i in (0, 1, 2, 5))]
    (hip / "S09A10T01.csv").write_text("\n".join(rows), encoding="utf-8")
    worn, staged = smartfallmm.trials(tmp_path)
    assert (worn.older, worn.signal.site, worn.signal.rate_hz, worn.falls) == (True, "wrist", 32.0, ())
    assert not staged.older
    assert staged.falls[0][:2] == (0.0, staged.seconds)
    np.testing.assert_array_equal(np.isnan(staged.signal.samples[:, 0]), [False, False, False, True, True, False])


def test_sp_sw_har_and_uci_rfid(tmp_path: Path) -> None:
    folder = tmp_path / "DATA" / "s02"
    folder.mkdir(parents=True)
    rows = "\n".join(f"0,9.8,0,0,0,0,{1657534605376 + 10 * i},SEATED" for i in range(50))
    (folder / "s02_02_sw.csv").write_text(f"x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label\n{rows}\n", encoding="utf-8")
    (watch,) = sp_sw_har.trials(tmp_path)
    assert (watch.signal.device, watch.signal.rate_hz, watch.person) == ("watch", 100.0, "s02")
    raw = tmp_path / "data" / "raw" / "S1_Dataset"
    raw.mkdir(parents=True)
    (raw / "d1p22F").write_text("0,0.1,0.9,0,1,-57,5,925,1\n0.1,0.2,0.8,0,1,-57,5,925,1\n", encoding="utf-8")
    (tag,) = uci_rfid.trials(tmp_path)
    np.testing.assert_allclose(tag.signal.samples[:, 0], [0.1, np.nan, np.nan, np.nan, 0.2])
    assert recording(tag, uci_rfid.SOURCE).registry.bindings[0].subject == "resident/d1p22F"


def test_a_trial_keeps_its_truth_and_its_people_apart() -> None:
    signal = Signal("belt", "waist", 50.0, np.tile(np.float32([0, 0, 1]), (200, 1)), "g")
    trials = [Trial("x/1", "p", "F01", False, signal, ((1.0, 2.0, "note"),)), Trial("x/2", "p", "D01", False, signal)]
    made, who = cohort("x", trials, "source")
    assert list(who.values()) == trials
    (truth,) = made.truth
    assert (truth.subject, truth.code) == (next(iter(who)), FALL)
    assert truth.end_ns - truth.start_ns == NS_PER_S
    assert len({binding.device for binding in made.registry.bindings}) == 2
    builder = Builder("x", "source")
    put(builder, trials[0], "resident/a")
    assert sum(1 for _ in builder.build().records) >= 4


def test_figures_count_falls_and_false_alarms_where_they_belong(tmp_path: Path) -> None:
    def outcome(**changes: object) -> quality.Outcome:
        return quality.Outcome("a", "belt", False, False, False, 0, 1800.0, float("nan"))._replace(**changes)  # type: ignore[arg-type]

    found = [
        outcome(fall=True, caught=True, alert_s=2.0),
        outcome(fall=True, person="b", caught=True, alert_s=4.0),
        outcome(fall=True, person="b"),
        outcome(false=2),
        outcome(),
        outcome(older=True),
    ]
    report = Report(tmp_path / "quality.json")
    quality._figures(quality.SOURCES["sisfall"], "set", found, Findings(report, "falls.set", lambda _: None))
    figures = report.figures
    assert figures["falls.set.sensitivity"].value == pytest.approx(200 / 3)
    assert figures["falls.set.time_to_alert_s"].value == 3.0
    assert figures["falls.set.specificity_young"].value == 50.0
    assert figures["falls.set.specificity_older"].value == 100.0
    assert figures["falls.set.false_alarms_per_hour"].value == pytest.approx(2 / 1.5)


@pytest.mark.data
def test_a_real_fall_raises_its_event_and_a_real_day_does_not(data_root: Path) -> None:
    chosen = {}
    for trial in sisfall.trials(data_root / "sisfall"):
        chosen.setdefault((trial.older, bool(trial.falls)), trial)
    fall, older = chosen[False, True], chosen[True, False]
    said = replay(recording(fall, sisfall.SOURCE))
    (event,) = [e for e in said.events if e.code == FALL]
    begin_s, end_s, _ = fall.falls[0]
    start_ns = Builder("", "").start_ns
    assert begin_s <= (event.onset_ns - start_ns) / NS_PER_S <= end_s
    assert [e for e in replay(recording(older, sisfall.SOURCE)).events if e.code == FALL] == []
