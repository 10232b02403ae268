"""Quality of the pressure-injury detector: posture accuracy on people held out, and the turn clock over nights.

Nobody's nights were recorded: every night here is concatenated from real frames of minutes, and each figure says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.quality.pressure_injury_fit import Labels, Matrix, Weights, features_of, fit, predict
from benchmarks.quality.report import Findings, Part, of_people
from detectors.pressure_injury import posture
from detectors.pressure_injury.coefficients import SIDE_WEIGHTS, SUPINE_BIAS, SUPINE_WEIGHTS
from detectors.pressure_injury.detector import FEATURE
from engine.events import Event
from engine.frame import NS_PER_S
from engine.outputs import Measurements
from schemas.recording import START_NS
from streams.recordings.importers import pmatdata, popu_preview
from streams.recordings.importers.pmatdata import Stay, Trial
from streams.recordings.intervals import Figure, by_person
from streams.recordings.replay import replay

SHIPPED: Final = Weights(SIDE_WEIGHTS, SUPINE_WEIGHTS, SUPINE_BIAS)
NIGHTS_PER_PERSON: Final = 2
NIGHT_SEED: Final = 7
TRUTH_SLACK_S: Final = 300.0
"""An overdue event within this of its true moment is on time (the vote takes a minute or two to see a turn)."""
SIDES: Final = (posture.SUPINE, posture.RIGHT, posture.LEFT)
STAY_IN_TIME_S: Final = (2700.0, 6600.0)
STAY_OVERDUE_S: Final = (9000.0, 14400.0)
NIGHT_S: Final = 8 * 3600.0
NIGHT_FRAME_S: Final = 20.0


class _Trials(NamedTuple):
    trials: list[Trial]
    features: list[Matrix]

    def stacked(self, chosen: Sequence[int]) -> tuple[Matrix, Labels, Labels]:
        """Features, labels and file numbers of the chosen trials, one row a map."""
        features = np.concatenate([self.features[i] for i in chosen])
        labels = np.concatenate([np.full(len(self.features[i]), self.trials[i].posture) for i in chosen])
        return features, labels, np.concatenate([np.full(len(self.features[i]), i) for i in chosen])


def _described(trials: Iterable[Trial]) -> _Trials:
    found = list(trials)
    return _Trials(found, [features_of(t.maps, t.shape) for t in found])


class _HeldOut:
    """Weights fitted to everybody but one person, made when asked for and kept."""

    def __init__(self, data: _Trials) -> None:
        self._data = data
        self._made: dict[str, Weights | None] = {}

    def without(self, person: str) -> Weights | None:
        """None when the others have not lain in all three postures: there is nothing to fit to."""
        if person not in self._made:
            others = [i for i, trial in enumerate(self._data.trials) if trial.person != person]
            whole = {self._data.trials[i].posture for i in others} >= set(SIDES)
            self._made[person] = fit(*self._data.stacked(others)) if whole else None
        return self._made[person]


def _hits(data: _Trials, weights: Callable[[Trial], Weights]) -> dict[str, tuple[int, int]]:
    """Per person: (maps with the right posture, maps)."""
    counts: dict[str, tuple[int, int]] = {}
    for trial, features in zip(data.trials, data.features, strict=True):
        hits, total = counts.get(trial.person, (0, 0))
        right = int((predict(weights(trial), features) == trial.posture).sum())
        counts[trial.person] = (hits + right, total + len(features))
    return counts


def _accuracy(counts: dict[str, tuple[int, int]], basis: str) -> Figure:
    """Maps with the right posture in percent; the interval resamples people (one person: none, all of his maps look alike)."""

    def share(people: Sequence[tuple[int, int]]) -> float:
        return 100 * sum(h for h, _ in people) / max(1, sum(n for _, n in people))

    spread = ", ".join(f"{person} {100 * h / n:.1f}" for person, (h, n) in sorted(counts.items()))
    return by_person(list(counts.values()), share, "%", f"{basis}; by person: {spread}")


def _judged(metric: str, chosen: _Trials, weights: Callable[[Trial], Weights | None], basis: str, found: Findings) -> None:
    """Record the accuracy over the trials that `weights` has weights for; `basis` is told how many people those are."""
    able = [i for i, trial in enumerate(chosen.trials) if weights(trial) is not None]
    if not able:
        found.absent(metric, "nobody here can be held out: it takes other people, in all three postures, to fit to")
        return
    rest = _Trials([chosen.trials[i] for i in able], [chosen.features[i] for i in able])
    people, left = ({trial.person for trial in trials} for trials in (rest.trials, chosen.trials))
    note = f"; {of_people(len(left - people))} more could not be held out" if left - people else ""

    def sure(trial: Trial) -> Weights:
        own = weights(trial)
        if own is None:
            raise ValueError(f"{trial.person} was chosen without weights")
        return own

    found.figure(metric, _accuracy(_hits(rest, sure), basis.format(of_people(len(people))) + note))


def _pmatdata(folder: Path, found: Findings) -> None:
    found.say("pmatdata: experiment i, leaving one person out")
    first = _described(_read(pmatdata.experiment_i, folder, found))
    held = _HeldOut(first)
    if first.trials:
        _judged(
            "posture_accuracy",
            first,
            lambda trial: held.without(trial.person),
            "PmatData i, {}, 17 postures each, 3 classes, leave one person out, every map after the person settled",
            found,
        )
        basis = "PmatData i, {}, coefficients as shipped (fitted to S1-S5 of this experiment)"
        _judged("posture_accuracy_shipped", first, lambda _: SHIPPED, basis, found)
    found.say("pmatdata: experiment ii")
    second = _described(_read(pmatdata.experiment_ii, folder, found))
    known = found.read("subject tables", pmatdata.same_person, folder) if second.trials else None

    def held_out(trial: Trial) -> Weights | None:
        # Whoever is not in the tables may be anybody in experiment i: there is nobody to leave out for them.
        return held.without(known[trial.person]) if known and trial.person in known else None

    for surface, name in (("air", "_air"), ("sponge", "_sponge"), ("", "_air_sponge")):
        chosen = [i for i, trial in enumerate(second.trials) if trial.surface.startswith(surface)]
        metric = f"posture_accuracy{name}"
        if not chosen or known is None:
            nobody = f"there is nobody on {surface or 'air or sponge'} mattresses"
            found.absent(metric, "the subject tables do not tell who of experiment ii is who of experiment i" if chosen else nobody)
            continue
        part = _Trials([second.trials[i] for i in chosen], [second.features[i] for i in chosen])
        basis = f"PmatData ii, {{}}, mattress: {surface or 'air and sponge'}, mean maps, fitted to experiment i without the same person"
        _judged(metric, part, held_out, basis, found)
    _nights(first.trials, "PmatData i", found)


def _read(importer: Callable[..., Iterable[Trial]], folder: Path, found: Findings, **options: bool) -> list[Trial]:
    return list(importer(folder, unreadable=found.unreadable, **options))


def _popu(folder: Path, found: Findings) -> None:
    found.say("popu-preview: posture")
    every = _read(popu_preview.trials, folder, found, prone=True)
    prone = [t for t in every if t.name.startswith("prone")]
    trials = [t for t in every if t.posture != posture.EMPTY and not t.name.startswith("prone")]
    if trials:
        basis = "PoPu preview over the mattress, {}, supine/right/left, coefficients as shipped"
        _judged("posture_accuracy", _described(trials), lambda _: SHIPPED, basis, found)
    said = [code for t in prone for code in predict(SHIPPED, features_of(t.maps, t.shape)).tolist()]
    basis = "PoPu preview, prone postures: not a class of this detector; the rest is taken for a side"
    found.share("prone_seen_as_supine", said.count(posture.SUPINE), len(said), basis, "nobody here lies prone")
    _nights(trials, "PoPu preview", found)


class _Night(NamedTuple):
    """What one replayed night came to."""

    hours: float
    spans: int
    caught: int
    delays_s: list[float]
    false: int
    cleared: int
    turns: int
    turns_seen: int


def plan_night(rng: np.random.Generator, *, overdue: bool) -> list[Stay]:
    """Eight hours: random stays on alternating sides, with one visit to the bathroom, and one stay too long if `overdue`."""
    stays: list[Stay] = []
    side = int(rng.choice(SIDES))
    late_at = int(rng.integers(1, 3)) if overdue else -1
    while sum(s.duration_s for s in stays) < NIGHT_S:
        low, high = STAY_OVERDUE_S if len(stays) == late_at else STAY_IN_TIME_S
        stays.append(Stay(side, float(rng.integers(int(low), int(high)))))
        if len(stays) == late_at + 2:
            stays.append(Stay(None, 600.0))
        side = int(rng.choice([s for s in SIDES if s != side]))
    return stays


def _turns(measurements: Sequence[Measurements], plan: Sequence[Stay], start_ns: int) -> tuple[int, int]:
    """(turns seen, turns): a turn is seen when, at the end of the new stay, the turn clock counts from its beginning."""
    if not measurements:
        return 0, sum(None not in {before.posture, stay.posture} for before, stay in pairwise(plan))
    t_ns = np.concatenate([m.t_ns for m in measurements])
    clock_s = np.concatenate([m.values[:, m.columns.index("turn_clock_s")] for m in measurements])
    seen = turns = 0
    begin_ns = start_ns
    for before, stay in zip((None, *plan), plan, strict=False):
        end_ns = begin_ns + round(stay.duration_s / NIGHT_FRAME_S) * round(NIGHT_FRAME_S * NS_PER_S)
        if before is not None and None not in {before.posture, stay.posture}:
            until = np.flatnonzero(t_ns < end_ns)
            seen += bool(until.size and abs(float(clock_s[until[-1]]) - float(t_ns[until[-1]] - begin_ns) / NS_PER_S) <= TRUTH_SLACK_S)
            turns += 1
        begin_ns = end_ns
    return seen, turns


def _judge(events: Sequence[Event], truth: Sequence[tuple[int, int]], hours: float, turns: tuple[int, int]) -> _Night:
    onsets = [e for e in events if e.code == pmatdata.TURN_OVERDUE and e.phase == "onset"]
    clears = {e.onset_ns for e in events if e.code == pmatdata.TURN_OVERDUE and e.phase == "clear"}
    slack_ns = TRUTH_SLACK_S * NS_PER_S
    caught, delays, cleared, used = 0, [], 0, set()
    for start_ns, end_ns in truth:
        hit = next((e for e in onsets if start_ns - slack_ns <= e.onset_ns <= end_ns and e.id not in used), None)
        if hit is not None:
            used.add(hit.id)
            caught += 1
            delays.append((hit.decided_ns - start_ns) / NS_PER_S)
            cleared += hit.onset_ns in clears
    return _Night(hours, len(truth), caught, delays, len(onsets) - len(used), cleared, turns[1], turns[0])


def _nights(trials_of_all: Iterable[Trial], source: str, found: Findings) -> None:
    by_name: dict[str, list[Trial]] = {}
    for trial in trials_of_all:
        by_name.setdefault(trial.person, []).append(trial)
    if not by_name:
        return
    nights: list[_Night] = []
    people = 0
    each = NIGHTS_PER_PERSON if found.records_max is None else min(NIGHTS_PER_PERSON, found.records_max)
    for person in found.each(sorted(by_name), str, f"nights of {source}"):
        trials = by_name[person]
        index = sorted(by_name).index(person)
        if not {trial.posture for trial in trials} >= set(SIDES):
            found.leave_out(f"nights of {source} {person}", "not all three postures are there to put a night together from")
            continue
        people += 1
        for number in range(each):
            for overdue in (False, True):
                seed = NIGHT_SEED + 1000 * index + 10 * number + overdue
                plan = plan_night(np.random.default_rng(seed), overdue=overdue)
                recording = pmatdata.night(trials, plan, name=f"{person}-{seed}", frame_s=NIGHT_FRAME_S, shuffle_seed=seed)
                said = replay(recording, measurements=True)
                hours = sum(said.exposure_s.values()) / 3600
                turns = _turns([m for m in said.measurements if m.name == FEATURE], plan, START_NS)
                nights.append(_judge(said.events, [(t.start_ns, t.end_ns) for t in recording.truth], hours, turns))
    if not nights:
        for metric in NIGHTS:
            found.absent(metric, "nobody here has lain in all three postures, which it takes to put a night together")
        return
    basis = (
        f"{len(nights)} nights of {of_people(people)}, each night concatenated from real frames ({source}), one map per {NIGHT_FRAME_S:g} s, "
        "posture coefficients as shipped (fitted to PmatData i S1-S5)"
    )
    spans, caught = sum(n.spans for n in nights), sum(n.caught for n in nights)
    delays = [d for n in nights for d in n.delays_s]
    days = sum(n.hours for n in nights) / 24
    turns_seen, turned = sum(n.turns_seen for n in nights), sum(n.turns for n in nights)
    found.share("overdue_sensitivity", caught, spans, f"overdue turns raised; {basis}", "no turn was overdue")
    turn_basis = f"turns the clock counts from, within {TRUTH_SLACK_S:g} s; {basis}"
    found.share("turn_sensitivity", turns_seen, turned, turn_basis, "nobody turned")
    cleared = sum(n.cleared for n in nights)
    clear_basis = f"raised overdue turns cleared by the next effective turn; {basis}"
    found.share("overdue_cleared", cleared, caught, clear_basis, "no overdue turn was raised")
    found.figure(
        "overdue_delay_s", by_person(delays, lambda d: float(np.median(d)) if len(d) else float("nan"), "s", f"median delay; {basis}")
    )
    false = sum(n.false for n in nights)
    found.per("false_overdue", false, days, "/resident-day", f"overdue said without a true one; {basis}", "no time was watched")


NIGHTS: Final = ("overdue_sensitivity", "turn_sensitivity", "overdue_cleared", "overdue_delay_s", "false_overdue")
PARTS: Final = (
    Part(
        "pmatdata",
        "pmatdata",
        ("posture_accuracy", "posture_accuracy_shipped", *(f"posture_accuracy_{on}" for on in ("air", "sponge", "air_sponge")), *NIGHTS),
        _pmatdata,
    ),
    Part("popu-preview", "popu-preview", ("posture_accuracy", "prone_seen_as_supine", *NIGHTS), _popu),
)
