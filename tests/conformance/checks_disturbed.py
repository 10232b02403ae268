"""Checks of what a detector must survive, and of what reaches it through the engine. Each is a function of one case."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from engine.block import Block
from engine.engine import Engine
from engine.frame import GAP_RESTART, NS_PER_S, Frame
from engine.kinds import KINDS
from engine.registry import Binding, Registry, RegistryData
from tests.conformance.harness import Case, after, disturbance, end_ns, fired, run, shifted, unfinished
from tests.conformance.register import (
    check,
    check_unless,
    fed_by_features,
    fed_by_instants,
    last_ns,
    without_overrides,
)

# -- what it must survive -----------------------------------------------------------------------------------------


def _survives(case: Case, before: list[Frame], gap_ns: int = 0) -> None:
    detector = case.cls()
    run(detector, before)
    assert unfinished(detector) == []
    found = run(detector, after(before, case.positive, gap_ns=gap_ns)[len(before) :], tick_until_ns=last_ns(case))[0]
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
    run(detector, case.positive, tick_until_ns=last_ns(case))
    silence = disturbance(shifted(case.positive, last_ns(case) - int(case.positive[0].t0_ns[0]) + 41 * NS_PER_S), "nan")
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
    fired_codes |= {e.code for e in engine.advance(last_ns(case)).events}
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
