"""Calls as a carer tells them: input.toml (seconds and pressed), expected.jsonl, why.md in each folder.

`VIGIL_WRITE_SCENARIOS=1` writes expected.jsonl anew; that is a commit of its own, with the reason.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from detectors.sos.detector import SosDetector
from engine.frame import NS_PER_S, frame

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/input.toml"))
START_NS = 1_700_000_000 * NS_PER_S


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_scenario(case: Path) -> None:
    detector = SosDetector(capacity=1)
    lines = []
    for second, pressed in tomllib.loads((case / "input.toml").read_text(encoding="utf-8"))["reports"]:
        one = frame("button", 0, START_NS + round(second * NS_PER_S), 0.0, np.full((1, 1, 1), pressed, np.float32))
        lines += [json.dumps({"code": d.code, "onset_s": (d.onset_ns - START_NS) / NS_PER_S}) for d in detector.step(one).detections]
    expected = case / "expected.jsonl"
    if os.environ.get("VIGIL_WRITE_SCENARIOS") == "1":
        expected.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    assert lines == expected.read_text("utf-8").splitlines()
    assert (case / "why.md").read_text("utf-8").startswith("# ")


def test_there_are_scenarios() -> None:
    assert len(CASES) >= 3
