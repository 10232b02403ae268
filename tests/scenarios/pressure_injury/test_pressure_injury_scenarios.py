"""Nights as a nurse tells them: input.toml, expected.jsonl, why.md in each folder.

`VIGIL_WRITE_SCENARIOS=1` writes expected.jsonl anew; that is a commit of its own, with the reason.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from detectors.pressure_injury.detector import PressureInjuryDetector
from detectors.pressure_injury.examples import START_NS, stays
from detectors.pressure_injury.params import PressureInjuryParams
from detectors.pressure_injury.posture import LEFT, RIGHT, SUPINE
from engine.frame import NS_PER_S

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/input.toml"))
POSTURES = {"supine": SUPINE, "right": RIGHT, "left": LEFT, "away": None, "silent": None}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_scenario(case: Path) -> None:
    plan = tomllib.loads((case / "input.toml").read_text(encoding="utf-8"))["stays"]
    params = case / "params.toml"
    detector = PressureInjuryDetector(PressureInjuryParams(**tomllib.loads(params.read_text("utf-8"))) if params.exists() else None)
    frames = stays([(POSTURES[name], seconds) for name, seconds in plan])
    spans, start_s = [], 0
    for name, seconds in plan:
        if name == "silent":
            spans.append((START_NS + start_s * NS_PER_S, START_NS + (start_s + seconds) * NS_PER_S))
        start_s += seconds
    heard = [f for f in frames if not any(a <= f.t0_ns[0] < b for a, b in spans)]
    lines = [
        json.dumps(
            {
                "code": d.code,
                "phase": d.phase,
                "onset_s": (d.onset_ns - START_NS) / NS_PER_S,
                "decided_s": (d.decided_ns - START_NS) / NS_PER_S,
            }
        )
        for one in heard
        for d in detector.step(one).detections
    ]
    expected = case / "expected.jsonl"
    if os.environ.get("VIGIL_WRITE_SCENARIOS") == "1":
        expected.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    assert lines == expected.read_text("utf-8").splitlines()
    assert (case / "why.md").read_text("utf-8").startswith("# ")


def test_there_are_scenarios() -> None:
    assert len(CASES) >= 4
