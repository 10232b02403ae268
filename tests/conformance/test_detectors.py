"""The conformance suite over every registered detector and model."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from streams.pipeline.assembly import CLASSES
from tests.conformance.checks import CHECKS
from tests.conformance.exemptions import EXEMPT
from tests.conformance.harness import DetectorClass, case_of, facts, run


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.spec.name)
@pytest.mark.parametrize("name", CHECKS)
def test_conformance(cls: DetectorClass, name: str) -> None:
    reason = EXEMPT.get((cls.spec.name, name))
    if reason is None:
        CHECKS[name](case_of(cls))
        return
    with pytest.raises(AssertionError):  # a stale exemption must go
        CHECKS[name](case_of(cls))


def test_the_suite_is_what_it_claims() -> None:
    assert len(CHECKS) >= 15
    assert len({cls.spec.name for cls in CLASSES}) == len(CLASSES) > 0
    known = {cls.spec.name for cls in CLASSES}
    assert all(name in known and check in CHECKS and len(why) > 20 for (name, check), why in EXEMPT.items())


_TWIN = """
import json, sys
from streams.pipeline.assembly import CLASSES
from tests.conformance.harness import case_of, facts, run
cls = next(c for c in CLASSES if c.spec.name == sys.argv[1])
case = case_of(cls)
print(json.dumps([facts(run(cls(), frames)[0]) for frames in (case.positive, case.negative)]))
"""


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.spec.name)
def test_compiled_kernels_equal_their_python_twins(cls: DetectorClass) -> None:
    case = case_of(cls)
    compiled = [[list(f) for f in facts(run(cls(), frames)[0])] for frames in (case.positive, case.negative)]
    environment = {**os.environ, "VIGIL_PYTHON_KERNELS": "1"}
    answer = subprocess.run([sys.executable, "-c", _TWIN, cls.spec.name], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == compiled
