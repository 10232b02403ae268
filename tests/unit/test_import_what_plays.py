"""What `vigil import` writes can be played, with its signals at their true size; what cannot is refused in a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb
from typer.testing import CliRunner

from streams.cli.main import app
from streams.recordings.format import read
from streams.recordings.importers import rr_series, wfdb_records
from streams.recordings.importers.catalogue import IMPORTERS
from streams.recordings.importers.wfdb_units import is_ecg_name
from streams.recordings.replay import replay

SECONDS = 12
MICRO, MU = "\u00b5", "\u03bc"


def ecg_mv(rate_hz: float, seconds: float = SECONDS) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Beats of exactly 1 mV, one a second."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.exp(-(((t % 1.0 - 0.5) / 0.02) ** 2))


def header(folder: Path, name: str, lines: Sequence[str | bytes]) -> Path:
    """A record of signals as 16-bit numbers; each line names its unit, its gain and what it is called."""
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (folder / f"{name}.hea").write_bytes(b"\n".join(raw) + b"\n")
    return folder / name


def record(
    folder: Path, units: Sequence[str | bytes], *, names: Sequence[str] = ("II", "V5", "V1"), rate_hz: float = 250.0, frame: int = 1
) -> Path:
    """Signals that all hold the same numbers, 1,000 for a beat, with 1,000 of them in a unit."""
    digits = np.rint(1000 * ecg_mv(rate_hz)).astype("<i2")
    per_frame = digits[: len(digits) // frame * frame].reshape(-1, frame)
    np.concatenate([per_frame] * len(units), axis=1).tofile(folder / "r.dat")
    form = b"16" if frame == 1 else b"16x%d" % frame
    lines = [b"r %d %.10g %d" % (len(units), rate_hz / frame, len(per_frame))]
    for unit, name in zip(units, names, strict=False):
        lines.append(b"r.dat %s 1000(0)/%s 16 0 0 0 0 %s" % (form, unit if isinstance(unit, bytes) else unit.encode(), name.encode()))
    return header(folder, "r", lines)


def imported(path: Path, source: str = "wfdb") -> tuple[int, str, Path]:
    """Return code, what was said, and where the recording is."""
    where = path.parent / "out.vigil"
    result = CliRunner().invoke(app, ["import", source, str(path), "--out", str(where)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output, where


@pytest.mark.parametrize(
    ("unit", "one_mv"),
    [
        *((unit, 1.0) for unit in ("mV", "MV", "mv", "millivolt", "millivolts", "Millivolts", "milli-volts", "mVolt", "毫伏")),
        *((unit, 1e-3) for unit in ("uV", "UV", f"{MICRO}V", f"{MU}V", "microvolts", "microvolt", "uVolts", "mcV", "微伏")),
        *((unit, 1e3) for unit in ("V", "v", "volt", "Volts", "伏")),
        *((unit, 1e-6) for unit in ("nV", "nanovolts", "纳伏")),
        (f"{MICRO}V".encode("latin-1"), 1e-3),
        (f"{MU}V".encode("gb18030"), 1e-3),
    ],
)
def test_every_way_to_write_a_voltage_is_read_at_its_size(tmp_path: Path, unit: str | bytes, one_mv: float) -> None:
    """The gain makes the beat 1 mV, whatever it is counted in."""
    path = record(tmp_path, [unit])
    head = path.with_suffix(".hea")
    head.write_bytes(head.read_bytes().replace(b" 1000(0)/", b" %.10g(0)/" % (1000 * one_mv)))
    assert np.nanmax(wfdb_records.load(path).leads) == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("unit", ["mmHg", "NU", "?V", "pV", "adu", "a.u.", "Ohm", "l/min", "bpm", "%"])
def test_a_record_without_a_voltage_is_refused_and_nothing_is_written(tmp_path: Path, unit: str) -> None:
    status, said, where = imported(record(tmp_path, [unit]))
    assert status != 0
    assert f"'{unit}' is no unit of voltage" in said
    assert not where.exists()


def test_only_voltages_that_are_an_ecg_become_leads(tmp_path: Path) -> None:
    path = record(tmp_path, ["mmHg", "mV", "mV", "mV"], names=("II", "Resp nasal", "art line", "something"))
    status, said, where = imported(path)
    assert status == 0
    assert wfdb_records.load(path).names == ("something",)
    assert "II is left out: 'mmHg' is no unit of voltage" in said
    assert "Resp nasal is left out" in said
    assert replay(read(where)).rejects == []


@pytest.mark.parametrize(("name", "ecg"), [("V", True), ("heart", True), ("ECG lead ART", False), ("EEG C4-A1", False), ("", True)])
def test_names_that_are_no_ecg(name: str, ecg: bool) -> None:
    assert is_ecg_name(name) == ecg


def test_a_lead_of_impossible_size_takes_no_good_one_with_it(tmp_path: Path) -> None:
    """1,000 of a unit is 1 mV in the first signal and a kilovolt in the second: what a header says whose \u00b5 was lost."""
    path = record(tmp_path, ["mV", "V"])
    _, said, where = imported(path)
    assert "V5 is left out: it reaches 1000 mV by its unit 'V'" in said
    done = replay(read(where))
    assert done.rejects == []
    assert sum(account.processed for account in done.accounts) == 250 * SECONDS


def test_a_lead_too_small_for_an_ecg_is_told(tmp_path: Path) -> None:
    _, said, _ = imported(record(tmp_path, ["uV"]))
    assert "II spans 0.001 mV" in said


def test_without_a_unit_it_is_millivolts_and_without_a_gain_that_is_said(tmp_path: Path) -> None:
    path = record(tmp_path, ["mV"])
    head = path.with_suffix(".hea")
    head.write_bytes(head.read_bytes().replace(b" 1000(0)/mV 16 0 0 0 0 II", b" 0 16 0 0 0 0 II"))
    found = wfdb_records.load(path)
    assert np.nanmax(found.leads) == pytest.approx(5.0)
    assert found.notes == ("II is not calibrated: 200 units a mV are assumed",)


@pytest.mark.parametrize(
    ("rate_hz", "frame", "played_hz"),
    [(250.0, 1, 250.0), (249.89, 4, 249.89), (499.78, 8, 499.78), (360.0, 3, 360.0), (5_000.0, 1, 1_000.0), (2_000.0, 4, 1_000.0)],
)
def test_what_is_imported_plays(tmp_path: Path, rate_hz: float, frame: int, played_hz: float) -> None:
    """Several samples a frame (62.4725 frames a second with four), and rates above what Vigil takes."""
    path = record(tmp_path, ["mV", "mV"], rate_hz=rate_hz, frame=frame)
    found = wfdb_records.load(path)
    assert found.rate_hz == pytest.approx(played_hz)
    assert np.nanmax(found.leads) == pytest.approx(1.0, rel=0.02)
    assert len(found.leads) / found.rate_hz == pytest.approx(SECONDS, abs=0.1)
    status, _, where = imported(path)
    assert status == 0
    done = replay(read(where))
    assert done.rejects == []
    assert sum(account.processed for account in done.accounts) == len(found.leads)


def test_annotations_stand_where_the_beats_are_at_any_rate(tmp_path: Path) -> None:
    for rate_hz, frame in ((250.0, 1), (249.89, 4), (5_000.0, 1)):
        path = record(tmp_path, ["mV"], rate_hz=rate_hz, frame=frame)
        at = np.rint((np.arange(1, 10) + 0.5) * rate_hz / frame).astype(int)
        wfdb.wrann("r", "atr", at, ["N"] * len(at), write_dir=str(tmp_path))
        found = wfdb_records.load(path)
        np.testing.assert_allclose(found.beats / found.rate_hz, np.arange(1, 10) + 0.5, atol=0.02)
        assert np.nanmin(found.leads[found.beats, 0]) > 0.5


def test_missing_samples_stay_missing_when_a_signal_is_resampled(tmp_path: Path) -> None:
    path = record(tmp_path, ["mV"], rate_hz=5_000.0)
    digits = np.fromfile(tmp_path / "r.dat", "<i2")
    digits[10_000:15_000] = -32_768
    digits.tofile(tmp_path / "r.dat")
    leads = wfdb_records.load(path).leads[:, 0]
    assert np.isnan(leads[2_000:3_000]).all()
    assert np.isfinite(leads[:1_999]).all()
    assert np.isfinite(leads[3_001:]).all()


def test_signals_of_different_rates_are_not_mixed(tmp_path: Path) -> None:
    path = record(tmp_path, ["mV"], rate_hz=250.0, frame=2)
    digits = np.fromfile(tmp_path / "r.dat", "<i2").reshape(-1, 2)
    np.concatenate([digits, digits[:, :1]], axis=1).tofile(tmp_path / "r.dat")
    header(tmp_path, "r", [f"r 2 125 {len(digits)}", "r.dat 16x2 1000/mV 16 0 0 0 0 II", "r.dat 16 1000/mV 16 0 0 0 0 V5"])
    found = wfdb_records.load(path)
    assert (found.names, found.rate_hz) == (("II",), 250.0)
    assert found.notes == ("V5 is left out: it is sampled less often than other leads",)


def test_segments_in_different_units_are_refused(tmp_path: Path) -> None:
    for name, unit in (("a", "mV"), ("b", f"{MICRO}V")):
        record(tmp_path, [unit])
        (tmp_path / "r.hea").rename(tmp_path / f"{name}.hea")
    for name in ("a", "b"):
        head = tmp_path / f"{name}.hea"
        head.write_bytes(head.read_bytes().replace(b"r 1 250", name.encode() + b" 1 250"))
    path = header(tmp_path, "whole", ["whole/2 1 250 6000", "a 3000", "b 3000"])
    with pytest.raises(ValueError, match="in mV and in"):
        wfdb_records.load(path)
    head = tmp_path / "b.hea"
    head.write_bytes(head.read_bytes().replace(f"{MICRO}V".encode(), b"mV"))
    assert np.nanmax(wfdb_records.load(path).leads) == pytest.approx(1.0)


@pytest.mark.parametrize("rate_hz", [62.4725, 25.0])
def test_a_signal_too_slow_for_beats_is_refused(tmp_path: Path, rate_hz: float) -> None:
    status, said, where = imported(record(tmp_path, ["mV"], rate_hz=rate_hz))
    assert status != 0
    assert re.search(r"has 62\.47|has 25", said)
    assert not where.exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.4\n0.8\n0.81\n0.79\n", 0.8), ("400\n800\n810\n790\n", 0.8), ("0\n\n# a remark\n1.5\n1.6\n1.4\n", 1.5)]
)
def test_intervals_in_seconds_or_milliseconds_are_the_same_beats(tmp_path: Path, text: str, seconds: float) -> None:
    path = tmp_path / "night.txt"
    path.write_text(text, encoding="utf-8")
    assert np.median(rr_series.day(path).rr_s) == pytest.approx(seconds)
    status, said, where = imported(path, "rr")
    assert (status, "3 readings" in said) == (0, True)
    assert replay(read(where)).rejects == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no interval"),
        ("0.4\n", "has no interval"),
        ("0\n72\n71\n73\n", "the median of night.txt is 72"),
        ("0\n280\n281\n90000\n280000\n500000\n", "the median of night.txt is 90000"),
        ("0\n0.8\n-0.8\n", "line 3 is '-0.8'"),
        ("0\n0.8\nnan\n", "line 3 is 'nan'"),
        ("time,rr\n0,0.8\n", "line 2 is '0,0.8'"),
    ],
)
def test_what_is_no_list_of_intervals_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "night.txt"
    path.write_text(text, encoding="utf-8")
    status, said, where = imported(path, "rr")
    assert status != 0
    assert why in said
    assert not where.exists()


@pytest.mark.parametrize("source", IMPORTERS)
@pytest.mark.parametrize("what", ["empty file", "empty folder", "nothing"])
def test_an_empty_source_is_a_sentence_for_every_importer(tmp_path: Path, source: str, what: str) -> None:
    path = tmp_path / "source.csv"
    if what == "empty file":
        path.touch()
        (tmp_path / "source.csv.hea").touch()
    elif what == "empty folder":
        path.mkdir()
    status, said, where = imported(path, source)
    assert status == 2
    assert said.startswith("vigil: ")
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
    assert not where.exists()


def test_a_recording_that_is_there_already_is_not_touched(tmp_path: Path) -> None:
    path = record(tmp_path, ["mV"])
    assert imported(path)[0] == 0
    before = (tmp_path / "out.vigil" / "frames.parquet").read_bytes()
    status, said, where = imported(path)
    assert status != 0
    assert "exists already" in said
    assert (where / "frames.parquet").read_bytes() == before


def test_replay_says_why_readings_were_refused(tmp_path: Path) -> None:
    from streams.recordings.format import Builder, write

    builder = Builder("strange", "made for this test")
    builder.bind("ecg", "resident/r-1")
    builder.add("ecg", "ecg", builder.start_ns, 50.0, np.zeros((100, 1)))
    write(tmp_path / "strange.vigil", builder.build())
    result = CliRunner().invoke(app, ["replay", str(tmp_path / "strange.vigil")])
    assert result.exit_code == 0
    assert "100 readings refused, bad_rate: ecg: rate_hz of ecg is 50, allowed are 100 to 1000" in result.output
