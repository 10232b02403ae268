"""Which event answers which truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from engine.events import Event
from engine.frame import NS_PER_S
from engine.watch import Hazard
from schemas.recording import Truth

TOLERANCE_S: Final = 5.0
"""How far an annotation may be off: people mark a fall or an arrhythmia by eye, to a few seconds."""
LATENCY_S: Final = 60.0
"""Latency allowed where a code's detector does not state one."""


class Window(NamedTuple):
    """How long after a truth's end an event may still answer it, and which other codes answer it too (a rhythm alarm does where
    the rate alarm was the truth, say).
    """

    latency_s: float = LATENCY_S
    tolerance_s: float = TOLERANCE_S
    accepted: tuple[str, ...] = ()


DEFAULT_WINDOW: Final = Window()


class Case(NamedTuple):
    """One recording and what was said about it. Exposure in days of data, over persons and over rooms."""

    name: str
    truth: Sequence[Truth]
    events: Sequence[Event]
    resident_days: float
    room_days: float = 0.0
    labelled: bool = True
    called: tuple[str, ...] = ()
    """The code of each alert that called somebody, under the policy in force: an event that did not hold long enough calls nobody."""
    coverage_s: Mapping[tuple[str, Hazard], tuple[float, float]] = MappingProxyType({})
    """Seconds watched and not watched, by subject and hazard."""


class Matched(NamedTuple):
    """What became of the truths and events of a case: `caught` pairs, the rest by fate. All are empty for a case that is not labelled."""

    case: Case
    caught: list[tuple[Truth, Event]]
    missed: list[Truth]
    false_alarms: list[Event]
    repeats: list[Event]


def compare(case: Case, windows: Mapping[str, Window] | None = None) -> Matched:
    """Match `case` by the rule of this package; only onsets count, a clear calls nobody."""
    if not case.labelled:
        return Matched(case, [], [], [], [])
    windows = windows or {}
    onsets = sorted((event for event in case.events if event.phase == "onset"), key=lambda e: (e.decided_ns, e.id))
    by_deadline = sorted(case.truth, key=lambda t: (_span(t, windows)[1], t.start_ns))
    taken: set[int] = set()
    caught: list[tuple[Truth, Event]] = []
    open_truths = by_deadline
    # Truths in order of their deadline, each taking the earliest event left: the most pairs that intervals and points allow. Own codes
    # first, or the truth of one detector would take the event of another and leave that one's own truth missed.
    for own in (True, False):
        missed: list[Truth] = []
        for truth in open_truths:
            index = next(
                (
                    i
                    for i, event in enumerate(onsets)
                    if i not in taken and (event.code == truth.code or not own) and _answers(event, truth, windows)
                ),
                None,
            )
            if index is None:
                missed.append(truth)
            else:
                taken.add(index)
                caught.append((truth, onsets[index]))
        open_truths = missed
    left = [event for i, event in enumerate(onsets) if i not in taken]
    repeats = [event for event in left if any(_answers(event, truth, windows) for truth in case.truth)]
    kept = {id(event) for event in repeats}
    return Matched(case, caught, open_truths, [event for event in left if id(event) not in kept], repeats)


def _span(truth: Truth, windows: Mapping[str, Window]) -> tuple[int, int]:
    window = windows.get(truth.code, DEFAULT_WINDOW)
    early = truth.start_ns - int(window.tolerance_s * NS_PER_S)
    return early, truth.end_ns + int((window.latency_s + window.tolerance_s) * NS_PER_S)


def _answers(event: Event, truth: Truth, windows: Mapping[str, Window]) -> bool:
    if event.subject != truth.subject:
        return False
    if event.code != truth.code and event.code not in windows.get(truth.code, DEFAULT_WINDOW).accepted:
        return False
    early, late = _span(truth, windows)
    return early <= event.decided_ns <= late
