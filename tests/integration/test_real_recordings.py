"""Real recordings through `vigil import` and `vigil replay`: the dangerous ones raise their alert, the ordinary ones none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli.main import app
from streams.recordings.importers.catalogue import IMPORTERS
from streams.recordings.replay import replay

pytestmark = pytest.mark.data

# What, where in the unpacked sets, which part; then a code that must fire, or None when nothing may.
CASES = {
    "a fall (SisFall)": ("sisfall", "sisfall", "fall", "falls.fall"),
    "walking (SisFall)": ("sisfall", "sisfall", "walk", None),
    "ventricular flutter and tachycardia (MIT-BIH 207)": ("wfdb", "mitdb/207", "", "heart.ventricular_tachycardia"),
    "atrial fibrillation (MIT-BIH 203)": ("wfdb", "mitdb/203", "", "heart.atrial_fibrillation"),
    "a normal heart (MIT-BIH 101)": ("wfdb", "mitdb/101", "", None),
    "a night without a turn (PmatData frames)": ("pmatdata", "pmatdata", "overdue", "pressure_injury.turn_overdue"),
    "a night turned in time (PmatData frames)": ("pmatdata", "pmatdata", "night", None),
    "a house fire (NIST SDC05)": ("nist-fire", "fire", "SDC05", "fire.smoke"),
    "an ordinary room (UCI Occupancy)": ("room", "fire/uci-occupancy-detection/datatest.txt", "", None),
}


def _record(root: Path, kind: str, place: str, part: str) -> str:
    """The part's name for whoever is in the folder: people are not named in tests."""
    if kind == "sisfall":
        person = min(path.stem for path in (root / place).glob("SA*.npz"))
        return f"{'F01' if part == 'fall' else 'D01'}_{person}_R01"
    if kind == "pmatdata":
        person = min(path.name for path in (root / place / "experiment-i").glob("S*"))
        return f"{person}-{part}"
    return part


@pytest.mark.parametrize("name", CASES)
def test_real_recording(name: str, data_root: Path) -> None:
    kind, place, part, expected = CASES[name]
    path = data_root / place
    if not (path.exists() or path.with_suffix(".hea").exists()):
        pytest.skip(f"{place} is not among the unpacked recordings")
    recording = IMPORTERS[kind].load(path, _record(data_root, kind, place, part))
    raised = {event.code for event in replay(recording).events if event.phase == "onset"}
    if expected is None:
        assert raised == set()
    else:
        assert expected in raised


def test_the_commands_themselves(data_root: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    record = _record(data_root, "sisfall", "sisfall", "fall")
    made = runner.invoke(app, ["import", "sisfall", str(data_root / "sisfall"), "--record", record, "--out", str(tmp_path / "fall.vigil")])
    assert made.exit_code == 0, made.output
    replayed = runner.invoke(app, ["replay", str(tmp_path / "fall.vigil"), "--json", str(tmp_path / "events.jsonl")])
    assert replayed.exit_code == 0, replayed.output
    assert "falls.fall" in replayed.output
    assert b'"code":"falls.fall"' in (tmp_path / "events.jsonl").read_bytes()
    scored = runner.invoke(app, ["evaluate", str(tmp_path / "fall.vigil"), "--report", str(tmp_path / "report")])
    assert scored.exit_code == 0, scored.output
    assert "<svg" in (tmp_path / "report" / "scorecard.html").read_text(encoding="utf-8")
