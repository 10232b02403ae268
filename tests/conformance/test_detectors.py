"""The conformance suite over every registered detector and model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import pytest

from streams.pipeline.assembly import CLASSES
from tests.conformance import checks, checks_disturbed  # noqa: F401 - they register what they have
from tests.conformance.exemptions import EXEMPT
from tests.conformance.harness import Case, DetectorClass, Vacuous, case_of, facts, perform, run
from tests.conformance.register import CHECKS, fed_by_features, fed_by_instants, without_clears, without_features, without_overrides

REQUIRED: Final = {"signals": 30, "instants": 25, "features": 27}
"""How many checks are executed at least, by what a detector is fed with, beside one for each of FURTHER that it has."""
FURTHER: Final = (without_features, without_overrides, without_clears)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.spec.name)
@pytest.mark.parametrize("name", CHECKS)
def test_conformance(cls: DetectorClass, name: str) -> None:
    case, check = case_of(cls), CHECKS[name]
    if (cls.spec.name, name) in EXEMPT:
        with pytest.raises(AssertionError):  # a stale exemption must go
            perform(check.run, case)
    elif (why := check.excuse(case)) is None:
        perform(check.run, case)
    else:
        with pytest.raises(Exception, match=r"."):  # so must an excuse where the check applies
            perform(check.run, case)
        pytest.skip(why)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.spec.name)
def test_no_check_has_silently_vanished(cls: DetectorClass) -> None:
    case = case_of(cls)
    executed = [name for name, check in CHECKS.items() if check.excuse(case) is None and (cls.spec.name, name) not in EXEMPT]
    fed = "features" if fed_by_features(case) else "instants" if fed_by_instants(case) else "signals"
    required = REQUIRED[fed] + sum(lacks(case) is None for lacks in FURTHER)
    assert len(executed) >= required, f"{cls.spec.name} gets {len(executed)} checks, {required} are required"


def test_names_and_exemptions_are_sound() -> None:
    known = {cls.spec.name for cls in CLASSES}
    assert len(known) == len(CLASSES) > 0
    stale = {(name, check) for name, check in EXEMPT if name not in known or check not in CHECKS}
    assert not stale
    assert [entry for entry, why in EXEMPT.items() if len(why) <= 20] == [], "an exemption says why"


def _returns_early(case: Case) -> None:
    if case.cls in CLASSES:
        return
    assert case.expected


def _loops_over_nothing(case: Case) -> None:
    for frame in case.positive[:0]:
        assert frame.kind


def _asserts_nothing(case: Case) -> None:
    case_of(case.cls)


def _fails(case: Case) -> None:
    assert not case.expected


@pytest.mark.parametrize("check", [_returns_early, _loops_over_nothing, _asserts_nothing, _fails])
def test_a_check_that_says_nothing_does_not_pass(check: Callable[[Case], None]) -> None:
    with pytest.raises(AssertionError) as failed:
        perform(check, case_of(CLASSES[0]))
    assert isinstance(failed.value, Vacuous) == (check is not _fails)


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
