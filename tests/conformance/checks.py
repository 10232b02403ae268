"""Checks of what a detector is, what it finds and what must not matter to it. Each is a function of one case."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from pydantic import ValidationError

from engine.frame import NS_PER_S
from engine.kinds import KINDS
from tests.conformance.harness import Case, at_slots, disturbance, end_ns, facts, fired, recut, run, shifted, together
from tests.conformance.register import (
    and_what_follows,
    check,
    check_unless,
    fed_by_instants,
    last_ns,
    positive,
    without_clears,
    without_features,
)

# -- what it is ---------------------------------------------------------------------------------------------------


@check
def spec_is_complete(case: Case) -> None:
    spec = case.cls.spec
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
    assert spec.kinds
    assert all(kind in KINDS or kind.startswith("feature.") for kind in spec.kinds)
    assert spec.events
    assert spec.references, "a detector names its sources"
    assert 0 <= spec.latency_bound_s < 24 * 3600
    assert spec.warmup_s >= 0
    for event in spec.events:
        assert re.fullmatch(r"[a-z_]+\.[a-z_0-9]+", event.code)
        assert event.description
    assert len({e.code for e in spec.events}) == len(spec.events)


@check
def documented(case: Case) -> None:
    assert len(inspect.getdoc(case.cls) or "") > 80, "say what it decides, on what, how late, from which source"
    readme = Path(inspect.getfile(case.cls)).with_name("README.md")
    assert len(readme.read_text(encoding="utf-8")) > 1000, f"{readme} tells the clinical reason, papers and known misses"


UNITS: Final = (
    "g", "s", "ms", "hz", "bpm", "per_min", "percent", "c", "k_per_min", "ppm", "ma", "mv", "deg", "dps", "count", "fraction", "ratio", "db_per_m",
    "od_per_m", "m", "min", "max", "h", "beats", "z", "score", "per_s", "c_per_min", "per_m", "probability", "days", "samples", "cells", "mmhg", "ppm_min",
    "g_per_s", "g_s", "rad", "per_mv", "bits", "intervals", "mv_per_s", "level", "weight", "per_min_per_min",
)  # fmt: skip


@check
def parameters_have_units_bounds_and_texts(case: Case) -> None:
    for name, field in case.cls.params_type.model_fields.items():
        assert field.description, f"{name} has no description"
        if field.annotation in {float, int}:
            assert field.metadata, f"{name} has no bounds"
            stems = (name, re.sub(r"_(min|max)$", "", name))
            assert any(stem == unit or stem.endswith(f"_{unit}") for unit in UNITS for stem in stems), f"{name} does not end in a unit"
    with pytest.raises(ValidationError):
        case.cls.params_type(no_such_parameter=1)


FORBIDDEN: Final = {
    "time", "datetime", "random", "os", "io", "pathlib", "logging", "socket", "subprocess", "threading", "asyncio", "structlog", "requests", "httpx", "sys",
    "uuid", "secrets", "tempfile", "shutil",
}  # fmt: skip


@check
def source_is_pure(case: Case) -> None:
    package = Path(inspect.getfile(case.cls)).parent
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            bad = {n.partition(".")[0] for n in names} & FORBIDDEN
            assert not bad, f"{path.name} imports {bad}: the core has no I/O, clock, log or unseeded randomness"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"open", "print", "input"}, f"{path.name} calls {node.func.id}"
            if isinstance(node, ast.Attribute) and path.name != "examples.py":
                assert node.attr not in {"default_rng", "RandomState"}, f"{path.name} draws random numbers"


# -- what it finds ------------------------------------------------------------------------------------------------


@check
def positive_is_caught_within_the_latency_bound(case: Case) -> None:
    found = positive(case)
    assert set(case.expected) <= fired(found)
    bound = case.onset_ns + int(case.cls.spec.latency_bound_s * NS_PER_S)
    for code in case.expected:
        assert min(d.decided_ns for d in found if d.code == code and d.phase == "onset") <= bound


@check
def negative_is_silent(case: Case) -> None:
    found, _ = run(case.cls(), case.negative)
    assert fired(found) == set()


@check
def detections_are_well_formed(case: Case) -> None:
    codes = {e.code: e for e in case.cls.spec.events}
    open_onsets: dict[str, int] = {}
    for d in positive(case):
        assert d.code in codes
        assert 0 <= d.score <= 1
        assert d.onset_ns <= d.decided_ns
        assert all(np.isfinite(v) for v in d.values.values())
        if d.phase == "onset":
            assert d.code not in open_onsets or not codes[d.code].clears, f"{d.code} fired twice without a clear"
            open_onsets[d.code] = d.onset_ns
        else:
            del open_onsets[d.code]


@check_unless(without_clears)
def a_clear_names_the_onset_it_ends(case: Case) -> None:
    frames = and_what_follows(case)
    onsets: dict[str, int] = {}
    for d in run(case.cls(), frames, tick_until_ns=end_ns(frames[-1]) + 3600 * NS_PER_S)[0]:
        if d.phase == "onset":
            onsets[d.code] = d.onset_ns
        else:
            assert onsets.pop(d.code) == d.onset_ns


@check_unless(without_features)
def features_are_well_formed(case: Case) -> None:
    _, features = run(case.cls(), and_what_follows(case), tick_until_ns=last_ns(case))
    last: dict[tuple[str, int], int] = {}
    for f in features:
        columns = case.cls.spec.features[f.kind]
        assert f.samples.shape == (f.slot.shape[0], 1, len(columns))
        assert f.samples.dtype == np.float32
        assert not np.isinf(f.samples).any()
        for slot, t0 in zip(f.slot, f.t0_ns, strict=True):
            assert int(t0) - last.get((f.kind, int(slot)), -(2**62)) >= NS_PER_S, "features come at most once a second"
            last[(f.kind, int(slot))] = int(t0)


# -- what must not matter -----------------------------------------------------------------------------------------


@check
def runs_are_deterministic(case: Case) -> None:
    first, second = case.cls(), case.cls()
    assert positive(case, detector=first) == positive(case, detector=second)
    assert first.snapshot() == second.snapshot()


@check
def input_is_not_written_to(case: Case) -> None:
    for f in case.positive:
        for array in (f.samples, f.slot, f.t0_ns, f.gap_ns, f.valid):
            array.setflags(write=False)
    try:
        assert fired(positive(case)) >= set(case.expected)
    finally:
        for f in case.positive:
            for array in (f.samples, f.slot, f.t0_ns, f.gap_ns, f.valid):
                if array.base is None:
                    array.setflags(write=True)


@check_unless(fed_by_instants)
def any_chunking_gives_the_same_events(case: Case) -> None:
    expected = facts(positive(case))
    assert len(recut(case.positive, lambda _: 1000)) != len(case.positive), "nothing was cut otherwise"
    rng = np.random.default_rng(11)
    assert facts(positive(case, recut(case.positive, lambda _: 1000))) == expected
    for _ in range(3):
        assert facts(positive(case, recut(case.positive, lambda n: int(rng.integers(1, min(n, 97) + 1))))) == expected
    silent = run(case.cls(), recut(case.negative, lambda n: int(rng.integers(1, min(n, 97) + 1))))[0]
    assert fired(silent) == set()


@check_unless(fed_by_instants)
def single_samples_give_the_same_events(case: Case) -> None:
    frames = case.positive
    if sum(f.samples.shape[1] for f in frames) > 60_000:
        frames = frames[: max(1, len(frames) // 4)]
    # Where chunks have one sample already, several are what differs.
    other = recut(frames, lambda _: 1) if any(f.samples.shape[1] > 1 for f in frames) else recut(frames, lambda _: 7)
    assert len(other) != len(frames), "nothing was cut otherwise"
    assert facts(run(case.cls(), other)[0]) == facts(run(case.cls(), frames)[0])


@check
def slots_are_isolated(case: Case) -> None:
    alone = facts(positive(case))
    found = run(case.cls(capacity=4), together(case.positive, case.negative, (2, 1)), tick_until_ns=last_ns(case))[0]
    assert facts(found, slot=2) == alone
    noisy = disturbance(case.positive, "noise", length=len(case.positive))
    beside = shifted(noisy, end_ns(case.positive[-1]) - end_ns(noisy[-1]))
    found = run(case.cls(capacity=4), together(case.positive, beside, (0, 3)), tick_until_ns=last_ns(case))[0]
    assert facts(found, slot=0) == alone


@check
def the_order_of_slots_is_irrelevant(case: Case) -> None:
    one = run(case.cls(capacity=8), at_slots(case.positive, [0, 3, 5]), tick_until_ns=last_ns(case))[0]
    other = run(case.cls(capacity=8), at_slots(case.positive, [5, 0, 3]), tick_until_ns=last_ns(case))[0]
    for slot in (0, 3, 5):
        assert facts(one, slot) == facts(other, slot) == facts(positive(case))


@check
def many_slots_at_once_all_fire(case: Case) -> None:
    slots = list(range(50))
    found = run(case.cls(capacity=64), at_slots(case.positive, slots), tick_until_ns=last_ns(case))[0]
    for code in case.expected:
        assert {d.slot for d in found if d.code == code and d.phase == "onset"} == set(slots)


@check
def growing_changes_nothing(case: Case) -> None:
    detector = case.cls(capacity=1)
    half = len(case.positive) // 2
    found = run(detector, case.positive[:half])[0]
    detector.grow(300)
    found += run(detector, case.positive[half:], tick_until_ns=last_ns(case))[0]
    assert {c for c, *_ in facts(found)} >= set(case.expected)
    assert [f for f in facts(found) if f[0] in case.expected] == [f for f in facts(positive(case)) if f[0] in case.expected]


@check
def snapshot_mid_stream_equals_uninterrupted(case: Case) -> None:
    whole = case.cls()
    expected = positive(case, detector=whole)
    for part in (0.25, 0.5, 0.9):
        at = max(1, int(len(case.positive) * part))
        first = case.cls()
        found = run(first, case.positive[:at])[0]
        second = case.cls(capacity=1)
        second.restore(first.snapshot())
        assert second.snapshot() == first.snapshot()
        late = run(second, case.positive[at:], tick_until_ns=last_ns(case))[0]
        assert facts(found + late) == facts(expected)


@check
def another_version_of_the_state_is_refused(case: Case) -> None:
    class Newer(case.cls):  # type: ignore[name-defined,misc]
        spec = case.cls.spec._replace(state_version=case.cls.spec.state_version + 1)

    with pytest.raises(ValueError, match="start cold"):
        Newer().restore(case.cls().snapshot())


@check
def forgetting_starts_afresh(case: Case) -> None:
    detector = case.cls()
    run(detector, case.positive, tick_until_ns=last_ns(case))
    detector.forget(np.array([0], np.int32))
    fresh = case.cls()
    later = shifted(case.positive, 3600 * NS_PER_S)
    bound = last_ns(case) + 3600 * NS_PER_S
    assert facts(run(detector, later, tick_until_ns=bound)[0]) == facts(run(fresh, later, tick_until_ns=bound)[0])
    assert detector.snapshot() == fresh.snapshot()
