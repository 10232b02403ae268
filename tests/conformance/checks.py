"""The checks. Each is a function of one case; registering a detector gets it all of them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from pydantic import ValidationError

from engine.block import Block
from engine.engine import Engine
from engine.frame import GAP_RESTART, NS_PER_S, Frame
from engine.kinds import KINDS
from engine.registry import Binding, Registry, RegistryData
from tests.conformance.harness import Case, after, at_slots, disturbance, end_ns, facts, fired, recut, run, shifted, together, unfinished

Excuse = Callable[[Case], str | None]
"""Why a check says nothing about this case; None when it applies."""


class Check(NamedTuple):
    """A check, and which cases it cannot apply to."""

    run: Callable[[Case], None]
    excuse: Excuse


CHECKS: Final[dict[str, Check]] = {}


def check(run: Callable[[Case], None], excuse: Excuse = lambda _: None) -> Callable[[Case], None]:
    CHECKS[run.__name__] = Check(run, excuse)
    return run


def check_unless(*excuses: Excuse) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """A check that is skipped where one of `excuses` holds; it must fail there, or the excuse is stale."""
    return lambda run: check(run, lambda case: next((why for excuse in excuses if (why := excuse(case)) is not None), None))


def fed_by_features(case: Case) -> str | None:
    if all(f.kind.startswith("feature.") for f in case.positive):
        return "its features arise inside the engine: no device sends them"
    return None


def fed_by_instants(case: Case) -> str | None:
    if all(f.kind in KINDS and KINDS[f.kind].timing == "irregular" for f in case.positive):
        return "its chunks are instants: they have no rate, no order and no length"
    return None


def without_features(case: Case) -> str | None:
    return None if case.cls.spec.features else "it computes no features"


def without_overrides(case: Case) -> str | None:
    return None if case.cls.spec.overridable else "nothing of it is set per resident"


def without_clears(case: Case) -> str | None:
    return None if any(event.clears for event in case.cls.spec.events) else "its events happen and have no end"


def _last(case: Case) -> int:
    return max(end_ns(f) for f in case.positive) + int(case.cls.spec.latency_bound_s * NS_PER_S)


def _positive(case: Case, frames: list[Frame] | None = None, detector: Any = None, **more: Any) -> list[Any]:
    detector = detector if detector is not None else case.cls()
    return run(detector, case.positive if frames is None else frames, tick_until_ns=_last(case), **more)[0]


def _and_what_follows(case: Case, seconds: int = 180) -> list[Frame]:
    """The positive example, then the negative one as often as fills `seconds`."""
    frames = list(case.positive)
    until_ns = end_ns(frames[-1]) + seconds * NS_PER_S
    while end_ns(frames[-1]) < until_ns:
        frames = after(frames, shifted(case.negative, end_ns(frames[-1]) - int(case.negative[0].t0_ns[0])))
    return frames


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
    found = _positive(case)
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
    for d in _positive(case):
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
    frames = _and_what_follows(case)
    onsets: dict[str, int] = {}
    for d in run(case.cls(), frames, tick_until_ns=end_ns(frames[-1]) + 3600 * NS_PER_S)[0]:
        if d.phase == "onset":
            onsets[d.code] = d.onset_ns
        else:
            assert onsets.pop(d.code) == d.onset_ns


@check_unless(without_features)
def features_are_well_formed(case: Case) -> None:
    _, features = run(case.cls(), _and_what_follows(case), tick_until_ns=_last(case))
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
    assert _positive(case, detector=first) == _positive(case, detector=second)
    assert first.snapshot() == second.snapshot()


@check
def input_is_not_written_to(case: Case) -> None:
    for f in case.positive:
        for array in (f.samples, f.slot, f.t0_ns, f.gap_ns, f.valid):
            array.setflags(write=False)
    try:
        assert fired(_positive(case)) >= set(case.expected)
    finally:
        for f in case.positive:
            for array in (f.samples, f.slot, f.t0_ns, f.gap_ns, f.valid):
                if array.base is None:
                    array.setflags(write=True)


@check_unless(fed_by_instants)
def any_chunking_gives_the_same_events(case: Case) -> None:
    expected = facts(_positive(case))
    assert len(recut(case.positive, lambda _: 1000)) != len(case.positive), "nothing was cut otherwise"
    rng = np.random.default_rng(11)
    assert facts(_positive(case, recut(case.positive, lambda _: 1000))) == expected
    for _ in range(3):
        assert facts(_positive(case, recut(case.positive, lambda n: int(rng.integers(1, min(n, 97) + 1))))) == expected
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
    alone = facts(_positive(case))
    found = run(case.cls(capacity=4), together(case.positive, case.negative, (2, 1)), tick_until_ns=_last(case))[0]
    assert facts(found, slot=2) == alone
    noisy = disturbance(case.positive, "noise", length=len(case.positive))
    beside = shifted(noisy, end_ns(case.positive[-1]) - end_ns(noisy[-1]))
    found = run(case.cls(capacity=4), together(case.positive, beside, (0, 3)), tick_until_ns=_last(case))[0]
    assert facts(found, slot=0) == alone


@check
def the_order_of_slots_is_irrelevant(case: Case) -> None:
    one = run(case.cls(capacity=8), at_slots(case.positive, [0, 3, 5]), tick_until_ns=_last(case))[0]
    other = run(case.cls(capacity=8), at_slots(case.positive, [5, 0, 3]), tick_until_ns=_last(case))[0]
    for slot in (0, 3, 5):
        assert facts(one, slot) == facts(other, slot) == facts(_positive(case))


@check
def many_slots_at_once_all_fire(case: Case) -> None:
    slots = list(range(50))
    found = run(case.cls(capacity=64), at_slots(case.positive, slots), tick_until_ns=_last(case))[0]
    for code in case.expected:
        assert {d.slot for d in found if d.code == code and d.phase == "onset"} == set(slots)


@check
def growing_changes_nothing(case: Case) -> None:
    detector = case.cls(capacity=1)
    half = len(case.positive) // 2
    found = run(detector, case.positive[:half])[0]
    detector.grow(300)
    found += run(detector, case.positive[half:], tick_until_ns=_last(case))[0]
    assert {c for c, *_ in facts(found)} >= set(case.expected)
    assert [f for f in facts(found) if f[0] in case.expected] == [f for f in facts(_positive(case)) if f[0] in case.expected]


@check
def snapshot_mid_stream_equals_uninterrupted(case: Case) -> None:
    whole = case.cls()
    expected = _positive(case, detector=whole)
    for part in (0.25, 0.5, 0.9):
        at = max(1, int(len(case.positive) * part))
        first = case.cls()
        found = run(first, case.positive[:at])[0]
        second = case.cls(capacity=1)
        second.restore(first.snapshot())
        assert second.snapshot() == first.snapshot()
        late = run(second, case.positive[at:], tick_until_ns=_last(case))[0]
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
    run(detector, case.positive, tick_until_ns=_last(case))
    detector.forget(np.array([0], np.int32))
    fresh = case.cls()
    later = shifted(case.positive, 3600 * NS_PER_S)
    bound = _last(case) + 3600 * NS_PER_S
    assert facts(run(detector, later, tick_until_ns=bound)[0]) == facts(run(fresh, later, tick_until_ns=bound)[0])
    assert detector.snapshot() == fresh.snapshot()


# -- what it must survive -----------------------------------------------------------------------------------------


def _survives(case: Case, before: list[Frame], gap_ns: int = 0) -> None:
    detector = case.cls()
    run(detector, before)
    assert unfinished(detector) == []
    found = run(detector, after(before, case.positive, gap_ns=gap_ns)[len(before) :], tick_until_ns=_last(case))[0]
    # The disturbance itself may be reported; the real case must be reported as well, or have been open all along.
    missed = set(case.expected) - fired(found)
    assert not missed, f"{missed} did not fire after the disturbance"
    assert unfinished(detector) == []


@check
def fires_after_a_burst_of_nan(case: Case) -> None:
    _survives(case, disturbance(case.positive, "nan"))


@check
def fires_after_a_stuck_sensor(case: Case) -> None:
    _survives(case, disturbance(case.positive, "stuck"))


@check
def fires_after_saturation(case: Case) -> None:
    _survives(case, disturbance(case.positive, "high"))
    _survives(case, disturbance(case.positive, "low"))


@check
def fires_after_noise_over_the_whole_range(case: Case) -> None:
    _survives(case, disturbance(case.positive, "noise"))


@check
def fires_after_the_device_flagged_its_data(case: Case) -> None:
    _survives(case, disturbance(case.positive, "flagged"))


@check
def fires_after_a_gap(case: Case) -> None:
    hour = 3600 * NS_PER_S
    early = shifted(
        case.negative[: max(1, len(case.negative) // 2)], case.positive[0].t0_ns[0] - end_ns(case.negative[len(case.negative) // 2]) - hour
    )
    _survives(case, early, gap_ns=hour)
    _survives(case, early, gap_ns=GAP_RESTART)


@check_unless(fed_by_instants)
def fires_after_a_change_of_rate(case: Case) -> None:
    assert any(f.rate_hz for f in case.positive), "there is no rate to change"
    other = [f._replace(rate_hz=f.rate_hz * 2) for f in disturbance(case.positive, "stuck")]
    _survives(case, other, gap_ns=GAP_RESTART)


@check
def missing_data_alone_never_fires_or_clears(case: Case) -> None:
    detector = case.cls()
    run(detector, case.positive, tick_until_ns=_last(case))
    silence = disturbance(shifted(case.positive, _last(case) - int(case.positive[0].t0_ns[0]) + 41 * NS_PER_S), "nan")
    found = run(detector, [f._replace(gap_ns=np.zeros_like(f.gap_ns)) for f in silence])[0]
    assert [d.code for d in found if d.phase == "clear"] == [], "missing data cleared a condition"
    quiet = run(case.cls(), disturbance(case.positive, "nan"))[0]
    assert fired(quiet) == set(), "missing data alone fired"


# -- through the engine -------------------------------------------------------------------------------------------


def _engine(case: Case) -> Engine:
    room = any(KINDS[k].space == "room" for k in case.cls.spec.kinds if k in KINDS)
    return Engine([case.cls()], Registry(RegistryData(bindings=(Binding("d", "room/1" if room else "resident/1", "h/1"),))))


def _blocks(frames: list[Frame]) -> list[tuple[Block, int]]:
    seq: dict[str, int] = {}
    out = []
    for f in frames:
        number = seq[f.kind] = seq.get(f.kind, -1) + 1
        out.append(
            (
                Block(f.kind, ("d",), f.t0_ns, np.array([number]), f.rate_hz, f.samples, np.where(f.valid, 0, 1).astype(np.uint8), f.shape),
                end_ns(f),
            )
        )
    return out


@check_unless(fed_by_features)
def duplicates_and_late_data_never_double_an_event(case: Case) -> None:
    blocks = _blocks(case.positive)
    plain, disturbed = _engine(case), _engine(case)
    expected = [e.id for b, at in blocks for e in plain.step(b, at).events]
    assert len(set(expected)) == len(expected)
    got = []
    for i, (b, at) in enumerate(blocks):
        got += [e.id for e in disturbed.step(b, at).events]
        got += [e.id for e in disturbed.step(b, at).events]
        if i >= 3:
            got += [e.id for e in disturbed.step(blocks[i - 3][0], at).events]
    assert got == expected
    for account in disturbed.accounts():
        assert account.received == account.processed + account.duplicate + account.late + account.quarantined


@check_unless(fed_by_features, fed_by_instants)
def a_rate_that_wobbles_changes_nothing(case: Case) -> None:
    assert any(f.rate_hz for f in case.positive), "there is no rate to wobble"
    engine = _engine(case)
    rng = np.random.default_rng(3)
    fired_codes = set()
    for b, at in _blocks(case.positive):
        wobbling = b._replace(rate_hz=b.rate_hz * (1 + 0.004 * float(rng.uniform(-1, 1))))
        fired_codes |= {e.code for e in engine.step(wobbling, at).events}
    fired_codes |= {e.code for e in engine.advance(_last(case)).events}
    assert set(case.expected) <= fired_codes


@check_unless(fed_by_features, fed_by_instants)
def neighbours_swapped_in_transit_change_nothing(case: Case) -> None:
    blocks = _blocks(case.positive)
    partner: dict[int, int] = {}
    for kind in {b.kind for b, _ in blocks if KINDS[b.kind].timing == "regular"}:
        own = [i for i, (b, _) in enumerate(blocks) if b.kind == kind]
        partner |= dict(zip(own[2::2], own[1::2], strict=False))  # the first chunk stays the first: nothing is known before it
    assert partner, "nothing was swapped"
    plain, swapped = _engine(case), _engine(case)
    expected = [e.id for b, at in blocks for e in plain.step(b, at).events]
    overtaken = set(partner.values())
    got = []
    for i, (b, at) in enumerate(blocks):
        if i not in overtaken:
            got += [e.id for e in swapped.step(b, at).events]
        if i in partner:
            got += [e.id for e in swapped.step(blocks[partner[i]][0], at).events]
    assert sorted(got) == sorted(expected)


@check_unless(without_overrides)
def overrides_are_checked_and_kept(case: Case) -> None:
    detector = case.cls()
    for field in case.cls.spec.overridable:
        value = float(getattr(detector.params, field))
        detector.override(0, field, value)
        restored = case.cls()
        restored.restore(detector.snapshot())
        assert restored.columns[field][0] == value
        with pytest.raises(ValueError, match=r"."):
            detector.override(0, field, sys.float_info.max)
        detector.override(0, field, None)


@check
def a_field_that_nobody_may_set_is_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        case.cls().override(0, "no_such_field", 1.0)
