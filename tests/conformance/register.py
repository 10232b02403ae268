"""The register of checks, and what a case can lack for one to apply. Registering a detector gets it all checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from engine.frame import NS_PER_S, Frame
from engine.kinds import KINDS
from tests.conformance.harness import Case, after, end_ns, run, shifted

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


def last_ns(case: Case) -> int:
    return max(end_ns(f) for f in case.positive) + int(case.cls.spec.latency_bound_s * NS_PER_S)


def positive(case: Case, frames: list[Frame] | None = None, detector: Any = None, **more: Any) -> list[Any]:
    detector = detector if detector is not None else case.cls()
    return run(detector, case.positive if frames is None else frames, tick_until_ns=last_ns(case), **more)[0]


def and_what_follows(case: Case, seconds: int = 180) -> list[Frame]:
    """The positive example, then the negative one as often as fills `seconds`."""
    frames = list(case.positive)
    until_ns = end_ns(frames[-1]) + seconds * NS_PER_S
    while end_ns(frames[-1]) < until_ns:
        frames = after(frames, shifted(case.negative, end_ns(frames[-1]) - int(case.negative[0].t0_ns[0])))
    return frames
