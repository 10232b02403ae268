"""Rooms as a carer tells them: input.toml, expected.jsonl, why.md in each folder.

`VIGIL_WRITE_SCENARIOS=1` writes expected.jsonl anew; that is a commit of its own, with the reason.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from detectors.fire.detector import FireDetector
from detectors.fire.params import FireParams
from engine.frame import GAP_RESTART, NS_PER_S, Float32, frame
from engine.kinds import KINDS

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/input.toml"))
START_NS = 1_700_000_000 * NS_PER_S


def rows(kind: str, points: list[dict[str, float]]) -> Float32:
    """One row a second along straight lines between `points` (at_s and channels by name); a channel never named is missing."""
    seconds = np.arange(points[-1]["at_s"])
    columns = []
    for channel in KINDS[kind].channels:
        known = [(point["at_s"], point[channel.name]) for point in points if channel.name in point]
        columns.append(np.interp(seconds, *zip(*known, strict=True)) if known else np.full(seconds.size, np.nan))
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_scenario(case: Path) -> None:
    plan = tomllib.loads((case / "input.toml").read_text(encoding="utf-8"))
    params = case / "params.toml"
    detector = FireDetector(FireParams(**tomllib.loads(params.read_text("utf-8"))) if params.exists() else None, capacity=1)
    lines = []
    for kind, points in plan.items():
        for second, row in enumerate(rows(kind, points)):
            gap = GAP_RESTART if second == 0 else 0
            one = frame(kind, 0, START_NS + second * NS_PER_S, 1.0, row[None, None, :], gap_ns=[gap])
            for d in detector.step(one).detections:
                onset_s, decided_s = ((t_ns - START_NS) / NS_PER_S for t_ns in (d.onset_ns, d.decided_ns))
                lines.append(json.dumps({"code": d.code, "phase": d.phase, "onset_s": onset_s, "decided_s": decided_s}))
    expected = case / "expected.jsonl"
    if os.environ.get("VIGIL_WRITE_SCENARIOS") == "1":
        expected.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    assert lines == expected.read_text("utf-8").splitlines()
    assert (case / "why.md").read_text("utf-8").startswith("# ")


def test_there_are_scenarios() -> None:
    assert len(CASES) >= 6
