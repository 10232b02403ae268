"""From matches to figures."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.events import Event, Subject
from engine.frame import NS_PER_S
from engine.watch import Hazard
from schemas.recording import Truth
from streams.pipeline.assembly import EVENT_BY_CODE
from streams.recordings.intervals import Figure, by_person, proportion, rate
from streams.recordings.scorecard.match import Case, Matched, Window, compare

RESIDENTS: Final = "all residents"
ROOMS: Final = "all rooms"
OVERALL: Final = frozenset({RESIDENTS, ROOMS})
NAMED_MAX: Final = 6
"""Recordings that are named in a sentence; the rest is counted."""


class Row(NamedTuple):
    """One code, or all codes of residents or rooms. Times in seconds from the truth's start to the decision.

    `caught` are truths of a code that it answered itself; `by_others` says how many more were answered by which other code of the same
    happening. `called` alerts reached people under the policy in force; all else is about events. In the overall rows `caught` is both, and nobody is other.
    """

    code: str
    truths: int
    caught: int
    by_others: tuple[tuple[str, int], ...]
    false_alarms: int
    repeats: int
    called: int
    sensitivity: Figure
    false_alarms_per_day: Figure
    time_to_alert_median: Figure
    time_to_alert_p90: Figure


class Covered(NamedTuple):
    """How much of the time in which `hazard` was bound it was watched, over the subjects and recordings that have it: "0 missed" holds for no more.

    Hours are those of the watch ledger, added over subjects.
    """

    hazard: Hazard
    watched_h: float
    bound_h: float
    subjects: int
    recordings: int

    @property
    def hours(self) -> str:
        """Watched and bound, in words."""
        return (
            f"{self.watched_h:.1f} of {self.bound_h:.1f} h"
            if self.bound_h >= 1
            else f"{60 * self.watched_h:.1f} of {60 * self.bound_h:.1f} min"
        )

    @property
    def figure(self) -> Figure:
        """Percent watched; without an interval, for nothing was sampled."""
        basis = f"{self.hours}, {self.subjects} residents and rooms, {self.recordings} recordings"
        return Figure(100 * self.watched_h / self.bound_h, float("nan"), float("nan"), "%", basis)


class Scorecard(NamedTuple):
    """All figures, and the matches they rest on."""

    rows: tuple[Row, ...]
    matched: tuple[Matched, ...]
    resident_days: float
    room_days: float
    not_labelled: tuple[Case, ...] = ()
    """Recordings that were replayed and not judged; their time is in none of the figures."""
    coverage: tuple[Covered, ...] = ()
    """By hazard, of what was bound."""

    @property
    def not_judged(self) -> dict[str, int]:
        """Onsets of the recordings that are not labelled, by code."""
        return dict(sorted(Counter(e.code for case in self.not_labelled for e in case.events if e.phase == "onset").items()))


def score(
    truth: Sequence[Truth],
    events: Sequence[Event],
    *,
    resident_days: float,
    room_days: float = 0.0,
    windows: Mapping[str, Window] | None = None,
    name: str = "recording",
) -> Scorecard:
    """Score one recording. `windows` by code; a code without one gets the defaults of `Window`."""
    return summarise([compare(Case(name, truth, events, resident_days, room_days), windows)])


def summarise(matched: Iterable[Matched]) -> Scorecard:
    """Figures over many recordings, per code in alphabetical order, then overall; technical events have rows but no part in the latter."""
    given = tuple(matched)
    every = tuple(m for m in given if m.case.labelled)
    resident_days = sum(m.case.resident_days for m in every)
    room_days = sum(m.case.room_days for m in every)
    codes = sorted({t.code for m in every for t in m.case.truth} | {e.code for m in every for e in m.case.events if e.phase == "onset"})
    rows = [_row(code, every, {code}, _in_rooms(code, every), resident_days, room_days) for code in codes]
    for name, rooms, days in ((RESIDENTS, False, resident_days), (ROOMS, True, room_days)):
        chosen = {code for code in codes if not _technical(code) and _in_rooms(code, every) == rooms}
        if chosen or days > 0:  # silence over a known time is a figure too
            rows.append(_row(name, every, chosen, rooms, resident_days, room_days))
    open_cases = tuple(m.case for m in given if not m.case.labelled)
    return Scorecard(tuple(rows), every, resident_days, room_days, open_cases, tuple(_coverage([m.case for m in every])))


def _coverage(cases: Sequence[Case]) -> Iterable[Covered]:
    for hazard in Hazard:
        seconds = [
            (case.name, subject, *both)
            for case in cases
            for (subject, of), both in case.coverage_s.items()
            if of == hazard and sum(both) > 0
        ]
        if seconds:
            watched_h = sum(one[2] for one in seconds) / 3600
            bound_h = watched_h + sum(one[3] for one in seconds) / 3600
            yield Covered(hazard, watched_h, bound_h, len({one[1] for one in seconds}), len({one[0] for one in seconds}))


def _technical(code: str) -> bool:
    return code in EVENT_BY_CODE and EVENT_BY_CODE[code].scoring.technical


def _in_rooms(code: str, every: Sequence[Matched]) -> bool:
    """Is `code` about rooms? As declared; one that may be about anybody, by the first subject it is said of here."""
    if code in EVENT_BY_CODE and EVENT_BY_CODE[code].subject is not Subject.ANY:
        return EVENT_BY_CODE[code].subject is Subject.ROOM
    for m in every:
        said_of: Iterable[Truth | Event] = itertools.chain(m.case.truth, m.case.events)
        for entry in said_of:
            if entry.code == code:
                return entry.subject.startswith("room/")
    return False


def _row(code: str, every: Sequence[Matched], codes: set[str], rooms: bool, resident_days: float, room_days: float) -> Row:
    answered = [(m.case.name, truth, event) for m in every for truth, event in m.caught if truth.code in codes]
    caught = [pair for pair in answered if code in OVERALL or pair[2].code == code]
    others = Counter(event.code for _, truth, event in answered if code not in OVERALL and event.code != code)
    missed = sum(truth.code in codes for m in every for truth in m.missed)
    false_alarms = sum(event.code in codes for m in every for event in m.false_alarms)
    repeats = sum(event.code in codes for m in every for event in m.repeats)
    days, unit = (room_days, "/room-day") if rooms else (resident_days, "/resident-day")
    truths = len(answered) + missed
    delays: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, truth, event in caught:
        delays[name, truth.subject].append((event.decided_ns - truth.start_ns) / NS_PER_S)
    by_others = tuple(sorted(others.items()))
    basis = f"{len(caught)} of {truths} caught, {said_by_others(by_others, 'caught by {}, ')}{len(every)} recordings"
    people = list(delays.values())
    return Row(
        code,
        truths,
        len(caught),
        by_others,
        false_alarms,
        repeats,
        sum(called in codes for m in every for called in m.case.called),
        proportion(len(caught), truths, basis),
        rate(false_alarms, days, unit, f"{false_alarms} in {days:.4g} {unit[1:]}s, {len(every)} recordings"),
        _percentile(people, 50, basis),
        _percentile(people, 90, basis),
    )


def _percentile(people: Sequence[list[float]], percent: float, basis: str) -> Figure:
    """A percentile of the delays, its interval by resampling people."""
    if not people:
        return Figure(float("nan"), float("nan"), float("nan"), "s", basis)
    return by_person(
        people, lambda chosen: float(np.percentile(np.concatenate(list(chosen)), percent)), "s", f"{basis}, {len(people)} people"
    )


def said_by_others(by_others: Sequence[tuple[str, int]], form: str = "{}") -> str:
    """Which other codes answered the truths of a code, as people read it; "" when none did."""
    return form.format(", ".join(f"{code} {count}" for code, count in by_others)) if by_others else ""


def figures(card: Scorecard) -> dict[str, Figure]:
    """Flat: "<code>.<metric>" to figure, overall codes with underscores; "coverage.<hazard>" to the percent watched."""
    found: dict[str, Figure] = {}
    for row in card.rows:
        code = row.code.replace(" ", "_")
        found[f"{code}.sensitivity"] = row.sensitivity
        found[f"{code}.false_alarms_per_day"] = row.false_alarms_per_day
        found[f"{code}.time_to_alert_median"] = row.time_to_alert_median
        found[f"{code}.time_to_alert_p90"] = row.time_to_alert_p90
    for one in card.coverage:
        found[f"coverage.{one.hazard}"] = one.figure
    return found


def to_json(card: Scorecard) -> bytes:
    """`figures` as JSON, one object per key with value, low, high, unit and basis; null where there is no number. Recordings that are
    not labelled are under "not_labelled": their names, their time, and how many events were not judged."""
    flat: dict[str, Any] = {key: figure._asdict() for key, figure in figures(card).items()}
    if card.not_labelled:
        flat["not_labelled"] = {
            "recordings": [case.name for case in card.not_labelled],
            "resident_days": sum(case.resident_days for case in card.not_labelled),
            "room_days": sum(case.room_days for case in card.not_labelled),
            "events_not_judged": card.not_judged,
        }
    return msgspec.json.format(msgspec.json.encode(flat)) + b"\n"


def said(figure: Figure, digits: int = 1) -> str:
    """A figure as people read it: value, interval, unit; a dash where there is nothing to measure."""
    if np.isnan(figure.value):
        return "–"
    unit = figure.unit if figure.unit.startswith(("%", "/")) else f" {figure.unit}"
    if np.isnan(figure.low):
        return f"{figure.value:.{digits}f}{unit}"
    return f"{figure.value:.{digits}f}{unit} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def said_not_labelled(card: Scorecard) -> str:
    """One sentence about the recordings of which nobody said what happened; "" when there are none."""
    if not card.not_labelled:
        return ""
    names = ", ".join(case.name for case in card.not_labelled[:NAMED_MAX])
    more = f" and {len(card.not_labelled) - NAMED_MAX} more" if len(card.not_labelled) > NAMED_MAX else ""
    days = sum(case.resident_days for case in card.not_labelled), sum(case.room_days for case in card.not_labelled)
    events = said_by_others(tuple(card.not_judged.items())) or "none"
    return (
        f"{len(card.not_labelled)} of {len(card.matched) + len(card.not_labelled)} recordings ({names}{more}; {days[0]:.3g} "
        f"resident-days, {days[1]:.3g} room-days). Nobody said what happened there, so their alerts are neither right nor false, and their time "
        f"is in no figure. Events not judged: {events}"
    )
