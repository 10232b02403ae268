"""One run, and what came of it: the alarm within its bound, or somebody told with the true reason that nobody is watched, or silence."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from benchmarks.faults.case import SLACK_S, Case
from benchmarks.faults.fault import Fault, scene
from benchmarks.faults.play import Played, Ring, Technical, play
from engine.frame import NS_PER_S
from engine.watch import CARE, WatchLimits

ALLOWANCE_S: Final = 60.0
"""So much later than without the fault an alarm may come, beside what the fault itself delays."""
ALLOWANCE_PERIODS: Final = 3
"""Or so many periods of the stream, if that is more."""


TOLD_SLACK_S: Final = 300.0
"""So much later than the limits of the watch say somebody may be told: what is missing must first be missed."""


def blind_s(case: Case) -> float:
    """Within this of the danger somebody must have been told that nobody watches: the home's limit, or the resident's own."""
    limits = WatchLimits()
    own = {setting.field: setting.value for setting in case.registry.care if setting.detector == CARE and setting.value is not None}
    hazards = {signal.hazard for signal in case.spec.watches.get(case.kind, ())}
    told_s = [own.get(f"{hazard}_s", limits.told_ns[hazard] / NS_PER_S) for hazard in hazards]
    return max([*told_s, limits.never_heard_ns / NS_PER_S]) + TOLD_SLACK_S


class Outcome(StrEnum):
    """What came of a run. The last three are failures."""

    ALARM = "alarm"
    CALL = "call"  # another call to the same person: somebody goes and looks
    TOLD = "told"  # a technical alert with a true reason, where the fault takes information away
    TOLD_ONLY = "told only"  # the same, where the alarm itself was due
    UNTRUE = "untrue reason"  # a technical alert, with a reason that is not why
    LATE = "late"  # the alarm, after its bound
    SILENT = "silent"


GOOD: Final = frozenset({Outcome.ALARM, Outcome.CALL, Outcome.TOLD, Outcome.TOLD_ONLY})


class Result(msgspec.Struct, frozen=True):
    """One run. Seconds count from the danger's onset. `false`: codes called that are not called without the fault."""

    case: str
    source: str
    detector: str
    kind: str
    fault: str
    group: str
    seed: int
    outcome: Outcome
    alarm_s: float | None
    due_s: float
    technical: list[tuple[str, float]]
    false: list[str]
    refused: dict[str, int]
    late: int
    error: str = ""


class _Bounds(NamedTuple):
    subject: str
    earliest_ns: int
    due_ns: int
    end_ns: int
    begin_ns: int


def run(case: Case, fault: Fault, seed: int) -> Result:
    """Play `case` through `fault`."""
    one = scene(case, zlib.crc32(f"{seed}/{case.name}/{fault.name}".encode()))
    period_s = max((chunk.lasts_ns / max(1, len(chunk.samples)) / NS_PER_S for chunk in case.chunks), default=0.0)
    stretched_s = fault.stretch * (case.alarm_ns - case.chunks[0].arrival_ns) / NS_PER_S
    due_ns = case.alarm_ns + _ns(max(ALLOWANCE_S, ALLOWANCE_PERIODS * period_s) + fault.delay_s + stretched_s)
    bounds = _Bounds(
        fault.subject or case.subject,
        case.onset_ns - _ns(SLACK_S + stretched_s),
        due_ns,
        max(due_ns, case.onset_ns + _ns(max(fault.blind_s, blind_s(case)) + fault.delay_s)),
        one.begin_ns,
    )

    def enough(played: Played, at_ns: int) -> bool:
        if _alarm(case, played, bounds) is not None:
            return True
        return at_ns > due_ns and (_told(fault, played, case) or _called(fault, played, bounds))

    messages = fault.apply(case.until(bounds.end_ns + 60 * NS_PER_S), one)
    first_ns = case.chunks[0].arrival_ns
    played = Played()
    try:
        play(messages, case.registry, first_ns, bounds.end_ns, enough, played)
    except Exception as error:  # noqa: BLE001 - a partition that crashes is the worst outcome, and the other runs go on
        return _result(case, fault, seed, played, bounds, f"{type(error).__name__}: {error}")
    return _result(case, fault, seed, played, bounds)


def _alarm(case: Case, played: Played, bounds: _Bounds) -> Ring | None:
    own = (r for r in played.rings if r.code in case.codes and r.subject == bounds.subject)
    return next((r for r in own if bounds.earliest_ns <= r.at_ns), None)


def _lasting(case: Case, found: Iterable[Technical]) -> list[Technical]:
    """Technical alerts that held when the danger began, or came after."""
    return [t for t in found if t.until_ns is None or t.until_ns >= case.onset_ns]


def _told(fault: Fault, played: Played, case: Case) -> bool:
    return any(t.reason in fault.reasons for t in _lasting(case, played.technical.values()))


def _called(fault: Fault, played: Played, bounds: _Bounds) -> bool:
    return fault.call and any(r.subject == bounds.subject and r.at_ns >= bounds.begin_ns for r in played.rings)


def _result(case: Case, fault: Fault, seed: int, played: Played, bounds: _Bounds, error: str = "") -> Result:
    alarm = _alarm(case, played, bounds)
    lasting = _lasting(case, played.technical.values())
    if alarm is not None and alarm.at_ns <= bounds.due_ns:
        outcome = Outcome.ALARM
    elif _called(fault, played, bounds):
        outcome = Outcome.CALL
    elif _told(fault, played, case):
        outcome = Outcome.TOLD_ONLY if fault.costless else Outcome.TOLD
    elif alarm is not None:
        outcome = Outcome.LATE
    else:
        outcome = Outcome.UNTRUE if lasting else Outcome.SILENT
    if error:
        outcome = Outcome.SILENT
    false = [
        f"{r.code}{'' if r.subject == bounds.subject else ' about another'}"
        for r in played.rings
        if not (outcome is Outcome.CALL and r.subject == bounds.subject)
        and (r.code not in case.expected or r.subject != bounds.subject or (r.code in case.codes and r.at_ns < bounds.earliest_ns))
    ]

    def since(at_ns: int) -> float:
        return round((at_ns - case.onset_ns) / NS_PER_S, 1)

    return Result(
        case.name,
        case.source,
        case.detector,
        case.kind,
        fault.name,
        fault.group,
        seed,
        outcome,
        since(alarm.at_ns) if alarm is not None else None,
        since(bounds.due_ns),
        [(t.reason, since(t.at_ns)) for t in lasting],
        sorted(set(false)),
        played.refused,
        played.late,
        error,
    )


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
