"""One-lead ECGs as a carer tells them: input.toml, expected.jsonl, why.md in each folder.

`VIGIL_WRITE_SCENARIOS=1` writes expected.jsonl anew; that is a commit of its own, with the reason.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from detectors.heart.detector import HeartDetector
from detectors.heart.examples import RATE_HZ, chunks, ecg
from engine.frame import NS_PER_S

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/input.toml"))
START_NS = 1_767_225_600 * NS_PER_S


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_scenario(case: Path) -> None:
    plan = tomllib.loads((case / "input.toml").read_text(encoding="utf-8"))
    beats = np.concatenate([np.arange(part["from_s"], part["to_s"], part["rr_s"]) for part in plan["beats"]])
    signal = ecg(beats, plan["seconds"])
    for first_s, last_s, level_mv in plan.get("lead_off", []):
        signal[int(first_s * RATE_HZ) : int(last_s * RATE_HZ)] = level_mv
    detector = HeartDetector(capacity=1)
    lines = []
    for chunk in chunks(signal, start_ns=START_NS):
        for d in detector.step(chunk).detections:
            onset_s, decided_s = (round((t_ns - START_NS) / NS_PER_S, 1) for t_ns in (d.onset_ns, d.decided_ns))
            lines.append(json.dumps({"code": d.code, "phase": d.phase, "onset_s": onset_s, "decided_s": decided_s}))
    expected = case / "expected.jsonl"
    if os.environ.get("VIGIL_WRITE_SCENARIOS") == "1":
        expected.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    assert lines == expected.read_text("utf-8").splitlines()
    assert (case / "why.md").read_text("utf-8").startswith("# ")


def test_there_are_scenarios() -> None:
    assert len(CASES) >= 4
