"""Fall detection on recorded falls and daily life: sensitivity, specificity, false alarms an hour, time to alert.

The detector runs with its default parameters through the whole core. No model is trained, but the form of the rule and its
round defaults were chosen with the people of these sets in view, not cross-validated: the figures here are optimistic to that
extent, and those on people and devices not seen are the ones to trust. Every basis says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from engine.frame import NS_PER_S
from schemas.recording import Recording
from streams.recordings.importers import sisfall, smartfallmm, sp_sw_har, weda_fall
from streams.recordings.importers.trials import FALL, Trial, cohort
from streams.recordings.intervals import Figure, by_person, proportion, rate
from streams.recordings.replay import replay

SLACK_S: Final = 2.0
"""An alert whose onset lies this far outside a labelled fall still belongs to it (labels are by eye, to 0.1-1 s)."""
SIMPLE_DEVICES: Final = {"25hz-2g": (25.0, 2.0), "10hz": (10.0, 16.0)}
"""Rate (Hz) and range (g) of simple wearables: the narrowest common range, and the slowest rate that is judged."""
SECONDS_PER_HOUR: Final = 3600.0

_Source = tuple[Callable[[Path], Iterator[Trial]], str]
SOURCES: Final[dict[str, _Source]] = {
    "sisfall": (sisfall.trials, sisfall.SOURCE),
    "weda-fall": (weda_fall.trials, weda_fall.SOURCE),
    "smartfallmm": (smartfallmm.trials, smartfallmm.SOURCE),
    "sp-sw-har": (sp_sw_har.trials, sp_sw_har.SOURCE),
}
# uci-olderpeople-rfid is left out: in 5 % of its seconds there are enough samples to judge stillness at all, so a figure of no false
# alarms would show nothing (bed exit, which it is made for, is another detector's).
DATA_SETS: Final[tuple[str, ...]] = tuple(SOURCES)


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
    return "people the set does not tell apart" if people == {""} else f"{len(people)} people"


def simple_device(trial: Trial, rate_hz: float, range_g: float) -> Trial:
    """The same movement as a simple wearable would send it: clipped at ±range_g an axis, block means at rate_hz."""
    signal = trial.signal
    block = round(signal.rate_hz / rate_hz)
    whole = signal.samples[: len(signal.samples) // block * block]
    samples = np.clip(whole, -range_g, range_g).reshape(-1, block, whole.shape[1]).mean(axis=1)
    return trial._replace(signal=signal._replace(rate_hz=signal.rate_hz / block, samples=samples.astype(np.float32)))


def _median_alert(people: Sequence[list[Outcome]]) -> float:
    times = [trial.alert_s for person in people for trial in person if trial.caught]
    return float(np.median(times)) if times else float("nan")


def _share(trials: Sequence[Outcome], good: Callable[[Outcome], bool], basis: str) -> Figure:
    """Percent of good trials; the interval is the wider of Wilson's over trials and a bootstrap's over people."""
    wilson = proportion(sum(good(t) for t in trials), len(trials), basis)
    people = [[t for t in trials if t.person == person] for person in sorted({t.person for t in trials})]
    if len(people) < 2:
        return wilson
    own = by_person(people, lambda some: 100 * float(np.mean([good(t) for person in some for t in person])), "%", basis)
    return wilson._replace(low=min(wilson.low, own.low), high=max(wilson.high, own.high))


def _figures(data_set: str, found: Sequence[Outcome]) -> dict[str, Figure]:
    falls = [trial for trial in found if trial.fall]
    daily = [trial for trial in found if not trial.fall]
    hours = sum(trial.seconds for trial in daily) / SECONDS_PER_HOUR
    note = "default parameters, chosen with people of this set in view (no model trained, not cross-validated)"
    key = f"falls.{data_set}."
    figures: dict[str, Figure] = {}
    if falls:
        basis = f"{data_set}: {len(falls)} staged falls of {_people(falls)}; {note}"
        figures[key + "sensitivity"] = _share(falls, lambda trial: trial.caught, basis)
        people = [[trial for trial in falls if trial.person == person] for person in sorted({trial.person for trial in falls})]
        figures[key + "time_to_alert_s"] = by_person(
            people, _median_alert, "s", f"{basis}; median from the beginning of the fall (truth window) to the alert, interval over people"
        )
    devices = sorted({trial.device for trial in daily})
    groups: list[tuple[str, list[Outcome]]] = [("", daily)]
    if len({trial.older for trial in daily}) > 1:
        groups += [("_young", [t for t in daily if not t.older]), ("_older", [t for t in daily if t.older])]
    if len(devices) > 1:
        groups += [(f"_{device}", [t for t in daily if t.device == device]) for device in devices]
    for suffix, group in groups:
        if group:
            group_hours = sum(trial.seconds for trial in group) / SECONDS_PER_HOUR
            basis = f"{data_set}: {len(group)} daily trials of {_people(group)}, {group_hours:.2f} h; {note}"
            figures[f"{key}specificity{suffix}"] = _share(group, lambda trial: trial.false == 0, basis)
    if daily:
        basis = f"{data_set}: scripted daily trials of {_people(daily)}, {hours:.2f} h, far denser in movement than a day; {note}"
        figures[key + "false_alarms_per_hour"] = rate(sum(trial.false for trial in daily), hours, "1/h", basis)
    return figures


def _by_person(data_set: str, trials: Iterable[Trial], source: str) -> list[Outcome]:
    in_order = sorted(trials, key=lambda trial: trial.person)
    groups = groupby(in_order, key=lambda trial: trial.person)
    return [outcome for person, group in groups for outcome in outcomes(*cohort(f"{data_set}/{person}", group, source))]


def evaluate(root: Path, progress: Callable[[str], None]) -> dict[str, Figure]:
    """All figures from the data sets found under `root`; what is missing is said through `progress` and left out.

    SisFall is measured again as simple devices would record it (keys `falls.sisfall-25hz-2g.*`, `falls.sisfall-10hz.*`).
    """
    figures: dict[str, Figure] = {}

    def measure(name: str, trials: Iterable[Trial], source: str) -> None:
        found = _by_person(name, trials, source)
        progress(f"falls: {name}: {len(found)} trials")
        figures.update(_figures(name, found))

    for data_set, (trials, source) in SOURCES.items():
        folder = root / data_set
        if not folder.is_dir():
            progress(f"falls: {data_set} is not in {root}: skipped")
            continue
        measure(data_set, trials(folder), source)
        if data_set == "sisfall":
            for device, (rate_hz, range_g) in SIMPLE_DEVICES.items():
                measure(f"{data_set}-{device}", (simple_device(trial, rate_hz, range_g) for trial in trials(folder)), source)
    return figures
