"""Fall detection on recorded falls and daily life: sensitivity, specificity, false alarms an hour, time to alert.

The detector runs with its default parameters through the whole core. No model is trained, but the form of the rule and its
round defaults were chosen with the people of these sets in view, not cross-validated: the figures here are optimistic to that
extent, and those on people and devices not seen are the ones to trust. Every basis says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.quality.report import Findings, Part, of_people
from engine.frame import NS_PER_S
from schemas.recording import Recording
from streams.recordings.importers import sisfall, smartfallmm, sp_sw_har, weda_fall
from streams.recordings.importers.files import Unreadable
from streams.recordings.importers.trials import FALL, Trial, cohort
from streams.recordings.intervals import Figure, by_person, proportion
from streams.recordings.replay import replay

SLACK_S: Final = 2.0
"""An alert whose onset lies this far outside a labelled fall still belongs to it (labels are by eye, to 0.1-1 s)."""
SIMPLE_DEVICES: Final = {"25hz-2g": (25.0, 2.0), "10hz": (10.0, 16.0)}
"""Rate (Hz) and range (g) of simple wearables: the narrowest common range, and the slowest rate that is judged."""
SECONDS_PER_HOUR: Final = 3600.0

FALLS: Final = ("sensitivity", "time_to_alert_s")
DAILY: Final = ("specificity", "false_alarms_per_hour")
AGES: Final = ("specificity_young", "specificity_older")


class Source(NamedTuple):
    """A data set: how its trials are read, where it comes from, and what it can be asked for.

    `ages`: young and older people are told apart. `devices`: there are several, which its figures tell apart too.
    """

    trials: Callable[[Path, Unreadable | None], Iterator[Trial]]
    source: str
    owed: tuple[str, ...]
    ages: bool = False
    devices: bool = False


SOURCES: Final[dict[str, Source]] = {
    "sisfall": Source(sisfall.trials, sisfall.SOURCE, FALLS + DAILY + AGES, ages=True),
    "weda-fall": Source(weda_fall.trials, weda_fall.SOURCE, FALLS + DAILY + AGES, ages=True),
    "smartfallmm": Source(smartfallmm.trials, smartfallmm.SOURCE, FALLS + DAILY + AGES, ages=True, devices=True),
    "sp-sw-har": Source(sp_sw_har.trials, sp_sw_har.SOURCE, DAILY, devices=True),
}
# uci-olderpeople-rfid is left out: in 5 % of its seconds there are enough samples to judge stillness at all, so a figure of no false
# alarms would show nothing (bed exit, which it is made for, is another detector's).
NOTE: Final = "default parameters, chosen with people of this set in view (no model trained, not cross-validated)"


class Outcome(NamedTuple):
    """What became of one trial: `caught` only for falls; `false` alarms outside any fall; `alert_s` from the fall's beginning."""

    person: str
    device: str
    older: bool
    fall: bool
    caught: bool
    false: int
    seconds: float
    alert_s: float


def outcomes(recording: Recording, who: dict[str, Trial]) -> list[Outcome]:
    """Replay a cohort and compare the falls found with the truth, trial by trial."""
    windows = {truth.subject: truth for truth in recording.truth}
    events = [event for event in replay(recording).events if event.code == FALL and event.phase == "onset"]
    found: list[Outcome] = []
    for subject, trial in who.items():
        own = [event for event in events if event.subject == subject]
        window = windows.get(subject)
        hits = []
        if window is not None:
            slack_ns = round(SLACK_S * NS_PER_S)
            hits = [event for event in own if window.start_ns - slack_ns <= event.onset_ns <= window.end_ns + slack_ns]
        alert_s = (hits[0].arrival_ns - window.start_ns) / NS_PER_S if window is not None and hits else float("nan")
        found.append(
            Outcome(
                trial.person,
                trial.signal.device,
                trial.older,
                window is not None,
                bool(hits),
                len(own) - len(hits),
                trial.seconds,
                alert_s,
            )
        )
    return found


def _people(trials: Iterable[Outcome]) -> str:
    people = {trial.person for trial in trials}
    return "people the set does not tell apart" if people == {""} else of_people(len(people))


def simple_device(trial: Trial, rate_hz: float, range_g: float) -> Trial:
    """The same movement as a simple wearable would send it: clipped at ±range_g an axis, block means at rate_hz."""
    signal = trial.signal
    block = max(1, round(signal.rate_hz / rate_hz))
    whole = signal.samples[: len(signal.samples) // block * block]
    samples = np.clip(whole, -range_g, range_g).reshape(-1, block, whole.shape[1]).mean(axis=1)
    return trial._replace(signal=signal._replace(rate_hz=signal.rate_hz / block, samples=samples.astype(np.float32)))


def _median_alert(people: Sequence[list[Outcome]]) -> float:
    times = [trial.alert_s for person in people for trial in person if trial.caught]
    return float(np.median(times)) if times else float("nan")


def _share(trials: Sequence[Outcome], good: Callable[[Outcome], bool], basis: str) -> Figure:
    """Percent of good trials; the interval is the wider of Wilson's over trials and a bootstrap's over people."""
    wilson = proportion(sum(map(good, trials)), len(trials), basis)
    people = [[t for t in trials if t.person == person] for person in sorted({t.person for t in trials})]
    if len(people) < 2:
        return wilson
    own = by_person(people, lambda some: 100 * float(np.mean([good(t) for person in some for t in person])), "%", basis)
    return wilson._replace(low=min(wilson.low, own.low), high=max(wilson.high, own.high))


def _figures(source: Source, data_set: str, outcome: Sequence[Outcome], found: Findings) -> None:
    falls = [trial for trial in outcome if trial.fall]
    daily = [trial for trial in outcome if not trial.fall]
    if falls:
        basis = f"{data_set}: {len(falls)} staged falls of {_people(falls)}; {NOTE}"
        found.figure("sensitivity", _share(falls, lambda trial: trial.caught, basis))
        people = [[trial for trial in falls if trial.person == person] for person in sorted({trial.person for trial in falls})]
        basis += "; median from the beginning of the fall (truth window) to the alert, interval over people"
        found.figure("time_to_alert_s", by_person(people, _median_alert, "s", basis))
    elif outcome:
        for metric in set(FALLS) & set(source.owed):
            found.absent(metric, f"there is no fall that can be judged among the trials of {_people(outcome)}")
    groups: list[tuple[str, list[Outcome]]] = [("", daily)]
    if source.ages:
        groups += [("_young", [t for t in daily if not t.older]), ("_older", [t for t in daily if t.older])]
    if source.devices:
        groups += [(f"_{device}", [t for t in daily if t.device == device]) for device in sorted({trial.device for trial in daily})]
    for suffix, group in groups:
        if group:
            hours = sum(trial.seconds for trial in group) / SECONDS_PER_HOUR
            basis = f"{data_set}: {len(group)} daily trials of {_people(group)}, {hours:.2f} h; {NOTE}"
            found.figure(f"specificity{suffix}", _share(group, lambda trial: trial.false == 0, basis))
        elif outcome:
            found.absent(f"specificity{suffix}", f"there is no daily activity of{suffix.replace('_', ' ') or ' these'} people")
    hours = sum(trial.seconds for trial in daily) / SECONDS_PER_HOUR
    basis = f"{data_set}: scripted daily trials of {_people(daily)}, {hours:.2f} h, far denser in movement than a day; {NOTE}"
    found.per("false_alarms_per_hour", sum(trial.false for trial in daily), hours, "1/h", basis, "there is no daily activity")


def _measure(name: str, device: tuple[float, float] | None, folder: Path, found: Findings) -> None:
    """One data set (`device`: as a device of that rate and range would have recorded it), person by person."""
    source = SOURCES[folder.name]
    people: dict[str, list[Trial]] = {}
    for trial in source.trials(folder, found.unreadable):
        worn = trial if device is None else simple_device(trial, *device)
        if len(worn.signal.samples):
            people.setdefault(trial.person, []).append(worn)
        else:
            found.leave_out(trial.name, "it has no samples")
    outcome: list[Outcome] = []
    for person in found.each(sorted(people), str):
        chosen = people[person]
        if found.records_max is not None:
            kinds: dict[tuple[str, bool], list[Trial]] = {}
            for trial in chosen:
                kinds.setdefault((trial.signal.device, bool(trial.falls)), []).append(trial)
            chosen = [trial for alike in kinds.values() for trial in found.few(alike)]
        outcome += outcomes(*cohort(f"{name}/{person}", chosen, source.source))
    if outcome:
        _figures(source, name, outcome, found)


PARTS: Final = tuple(
    Part(name, data_set, SOURCES[data_set].owed, partial(_measure, name, device))
    for data_set in SOURCES
    for name, device in (
        (data_set, None),
        *(((f"{data_set}-{key}", device) for key, device in SIMPLE_DEVICES.items()) if data_set == "sisfall" else ()),
    )
)
"""SisFall is measured again as simple devices would record it (keys `falls.sisfall-25hz-2g.*`, `falls.sisfall-10hz.*`)."""
