"""Quality of the pressure-injury detector: posture accuracy on people held out, and the turn clock over nights.

Nobody's nights were recorded: every night here is concatenated from real frames of minutes, and each figure says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.quality.pressure_injury_fit import Labels, Matrix, Weights, features_of, fit, predict
from detectors.pressure_injury import posture
from detectors.pressure_injury.coefficients import SIDE_WEIGHTS, SUPINE_BIAS, SUPINE_WEIGHTS
from detectors.pressure_injury.detector import FEATURE
from engine.events import Event
from engine.frame import NS_PER_S
from engine.outputs import Measurements
from schemas.recording import START_NS
from streams.recordings.importers import pmatdata, popu_preview
from streams.recordings.importers.pmatdata import Stay, Trial
from streams.recordings.intervals import Figure, by_person, proportion, rate
from streams.recordings.replay import replay

DATA_SETS: Final = ("pmatdata", "popu-preview")

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

Progress = Callable[[str], None]


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


def _pmatdata(root: Path, progress: Progress) -> dict[str, Figure]:
    progress("pressure_injury: posture, PmatData experiment i, leaving one person out")
    first = _described(pmatdata.experiment_i(root))
    people = sorted({t.person for t in first.trials})
    figures: dict[str, Figure] = {}
    without: dict[str, Weights] = {}
    if len(people) > 1:
        for person in people:
            without[person] = fit(*first.stacked([i for i, t in enumerate(first.trials) if t.person != person]))
        figures["posture_accuracy"] = _accuracy(
            _hits(first, lambda t: without[t.person]),
            f"PmatData i, {len(people)} people, 17 postures each, 3 classes, leave one person out, every map after the person settled",
        )
    figures["posture_accuracy_shipped"] = _accuracy(
        _hits(first, lambda _: SHIPPED), f"PmatData i, {len(people)} people, coefficients as shipped (fitted to S1-S5 of this experiment)"
    )
    progress("pressure_injury: posture, PmatData experiment ii")
    second = _described(pmatdata.experiment_ii(root))
    if second.trials:
        known = pmatdata.SAME_PERSON

        def held_out(trial: Trial) -> Weights:
            return without[known[trial.person]]

        for surface, name in (("air", "_air"), ("sponge", "_sponge"), ("", "_air_sponge")):
            # Whoever is not in experiment i cannot be held out of it: the shipped coefficients may have seen that very person.
            chosen = [i for i, t in enumerate(second.trials) if t.surface.startswith(surface) and known.get(t.person) in without]
            if not chosen:
                continue
            part = _Trials([second.trials[i] for i in chosen], [second.features[i] for i in chosen])
            figures[f"posture_accuracy{name}"] = _accuracy(
                _hits(part, held_out),
                f"PmatData ii, {len({t.person for t in part.trials})} people, mattress: {surface or 'air and sponge'}, mean maps, fitted to "
                "experiment i without the same person",
            )
    return figures | _nights(pmatdata.experiment_i(root), "PmatData i", progress)


def _popu(root: Path, progress: Progress) -> dict[str, Figure]:
    progress("pressure_injury: posture, PoPu preview")
    over = _described(t for t in popu_preview.trials(root) if t.posture != posture.EMPTY)
    people = len({t.person for t in over.trials})
    figures = {
        "posture_accuracy": _accuracy(
            _hits(over, lambda _: SHIPPED),
            f"PoPu preview over the mattress, {people} person(s), supine/right/left, coefficients as shipped",
        )
    }
    prone = [t for t in popu_preview.trials(root, prone=True) if t.name.startswith("prone")]
    said = np.concatenate([predict(SHIPPED, features_of(t.maps, t.shape)) for t in prone])
    figures["prone_seen_as_supine"] = proportion(
        int((said == posture.SUPINE).sum()),
        len(said),
        "PoPu preview, prone postures: not a class of this detector; the rest is taken for a side",
    )
    trials = [t for t in popu_preview.trials(root) if t.posture != posture.EMPTY]
    return figures | _nights(trials, "PoPu preview", progress)


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
    t_ns = np.concatenate([m.t_ns for m in measurements])
    clock_s = np.concatenate([m.values[:, m.columns.index("turn_clock_s")] for m in measurements])
    seen = turns = 0
    begin_ns = start_ns
    for before, stay in zip((None, *plan), plan, strict=False):
        end_ns = begin_ns + round(stay.duration_s / NIGHT_FRAME_S) * round(NIGHT_FRAME_S * NS_PER_S)
        if before is not None and None not in {before.posture, stay.posture}:
            last = np.flatnonzero(t_ns < end_ns)[-1]
            seen += bool(abs(float(clock_s[last]) - float(t_ns[last] - begin_ns) / NS_PER_S) <= TRUTH_SLACK_S)
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


def _nights(trials_of_all: Iterable[Trial], source: str, progress: Progress) -> dict[str, Figure]:
    by_name: dict[str, list[Trial]] = {}
    for trial in trials_of_all:
        by_name.setdefault(trial.person, []).append(trial)
    nights: list[_Night] = []
    for index, (person, trials) in enumerate(sorted(by_name.items())):
        for number in range(NIGHTS_PER_PERSON):
            for overdue in (False, True):
                progress(f"pressure_injury: night {number + 1} of {source} {person}, {'one turn overdue' if overdue else 'turned in time'}")
                seed = NIGHT_SEED + 1000 * index + 10 * number + overdue
                plan = plan_night(np.random.default_rng(seed), overdue=overdue)
                recording = pmatdata.night(trials, plan, name=f"{person}-{seed}", frame_s=NIGHT_FRAME_S, shuffle_seed=seed)
                said = replay(recording, measurements=True)
                hours = sum(said.exposure_s.values()) / 3600
                turns = _turns([m for m in said.measurements if m.name == FEATURE], plan, START_NS)
                nights.append(_judge(said.events, [(t.start_ns, t.end_ns) for t in recording.truth], hours, turns))
    basis = (
        f"{len(nights)} nights of {len(by_name)} people, each night concatenated from real frames ({source}), one map per {NIGHT_FRAME_S:g} s, posture "
        "coefficients as shipped (fitted to PmatData i S1-S5)"
    )
    spans, caught = sum(n.spans for n in nights), sum(n.caught for n in nights)
    delays = [d for n in nights for d in n.delays_s]
    days = sum(n.hours for n in nights) / 24
    return {
        "overdue_sensitivity": proportion(caught, spans, f"overdue turns raised; {basis}"),
        "turn_sensitivity": proportion(
            sum(n.turns_seen for n in nights),
            sum(n.turns for n in nights),
            f"turns the clock counts from, within {TRUTH_SLACK_S:g} s; {basis}",
        ),
        "overdue_cleared": proportion(
            sum(n.cleared for n in nights), caught, f"raised overdue turns cleared by the next effective turn; {basis}"
        ),
        "overdue_delay_s": by_person(delays, lambda d: float(np.median(d)) if len(d) else float("nan"), "s", f"median delay; {basis}"),
        "false_overdue": rate(sum(n.false for n in nights), days, "/resident-day", f"overdue said without a true one; {basis}"),
    }


def evaluate(root: Path, progress: Progress) -> dict[str, Figure]:
    """Figures for whoever is found below `root`; a missing data set is skipped and said."""
    figures: dict[str, Figure] = {}
    for name, part in (("pmatdata", _pmatdata), ("popu-preview", _popu)):
        if not (root / name).is_dir():
            progress(f"pressure_injury: {name} is missing, skipped")
            continue
        figures |= {f"pressure_injury.{name}.{key}": figure for key, figure in part(root / name, progress).items()}
    return figures
