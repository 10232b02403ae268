"""Fall scenarios: a folder each with the signal, the resident's limits, what must be said, and why (for a nurse)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from detectors.falls import FallDetector, FallParams
from engine.frame import GAP_NONE, GAP_RESTART, NS_PER_S, frame

HERE = Path(__file__).parent
CASES = sorted(path.name for path in HERE.iterdir() if (path / "input.csv").is_file())
START_NS = 1_767_571_200 * NS_PER_S
TOLERANCE_S = 0.1


@pytest.mark.parametrize("case", CASES)
def test_scenario(case: str) -> None:
    folder = HERE / case
    setting = tomllib.loads((folder / "params.toml").read_text(encoding="utf-8"))
    rate_hz = float(setting["rate_hz"])
    signal = np.genfromtxt(folder / "input.csv", delimiter=",", skip_header=1).astype(np.float32)
    expected = [json.loads(line) for line in (folder / "expected.jsonl").read_text(encoding="utf-8").splitlines()]
    detector = FallDetector(FallParams(**setting["params"]), capacity=1)
    size = round(rate_hz)
    found = []
    for at in range(0, len(signal), size):
        start_ns = START_NS + round(at / rate_hz * NS_PER_S)
        chunk = frame("accel", [0], [start_ns], rate_hz, signal[np.newaxis, at : at + size], gap_ns=[GAP_NONE if at else GAP_RESTART])
        found += detector.step(chunk).detections
    assert [d.code for d in found] == [e["code"] for e in expected]
    for detection, entry in zip(found, expected, strict=True):
        assert (detection.onset_ns - START_NS) / NS_PER_S == pytest.approx(entry["onset_s"], abs=TOLERANCE_S)
        assert (detection.decided_ns - START_NS) / NS_PER_S == pytest.approx(entry["decided_s"], abs=TOLERANCE_S)


def test_every_scenario_is_complete() -> None:
    assert len(CASES) >= 7
    for case in CASES:
        assert {path.name for path in (HERE / case).iterdir()} == {"input.csv", "params.toml", "expected.jsonl", "why.md"}
