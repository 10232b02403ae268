"""Real maps: orientation, posture, and nights put together from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.pressure_injury_fit import features_of
from detectors.pressure_injury import posture
from detectors.pressure_injury.posture import LEFT, RIGHT, SUPINE
from streams.recordings.importers import pmatdata, popu_preview
from streams.recordings.importers.pmatdata import OVERDUE, TURN_OVERDUE, TURNED_IN_TIME, Trial
from streams.recordings.replay import replay

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def first_person(data_root: Path) -> list[Trial]:
    trials = list(pmatdata.experiment_i(data_root / "pmatdata"))
    return [t for t in trials if t.person == trials[0].person]


def knees(trial: Trial) -> float:
    """Where the load of the thighs lies beside that of the hips, in mattress widths; negative: towards the right hand."""
    feature = features_of(trial.maps, trial.shape).mean(0)
    return float(feature[5] - feature[4])


def seen(trials: list[Trial]) -> np.ndarray:
    return np.array([posture.classify(row)[0] for t in trials for row in features_of(t.maps, t.shape)])


def test_all_sets_have_the_same_orientation(data_root: Path, first_person: list[Trial]) -> None:
    second = list(pmatdata.experiment_ii(data_root / "pmatdata"))
    over = list(popu_preview.trials(data_root / "popu-preview"))
    lying = [
        [t for t in first_person if t.name in {"2", "13", "3", "14"}],
        [t for t in second if t.name[0] in "CD"],
        [t for t in over if t.posture in {RIGHT, LEFT}],
    ]
    for trials in lying:
        right = np.mean([knees(t) for t in trials if t.posture == RIGHT])
        left = np.mean([knees(t) for t in trials if t.posture == LEFT])
        assert right < 0 < left


def test_the_importers_give_whole_maps_with_their_shape(data_root: Path, first_person: list[Trial]) -> None:
    assert len(first_person) == 17
    under = list(popu_preview.trials(data_root / "popu-preview", popu_preview.UNDER))
    assert {t.shape for t in first_person} == {(64, 32)}
    assert {t.shape for t in pmatdata.experiment_ii(data_root / "pmatdata")} == {(64, 27)}
    assert {t.shape for t in under} == {(12, 6)}
    for t in [*first_person, *under]:
        assert t.maps.dtype == np.uint16
        assert t.maps.shape[1] == t.shape[0] * t.shape[1]


def test_another_device_and_another_person_are_understood(data_root: Path) -> None:
    trials = [t for t in popu_preview.trials(data_root / "popu-preview") if t.posture in {SUPINE, RIGHT, LEFT}]
    truth = np.concatenate([np.full(len(t.maps), t.posture) for t in trials])
    assert (seen(trials) == truth).mean() > 0.9


def test_the_real_empty_bed_is_empty(data_root: Path) -> None:
    recording = next(t for t in popu_preview.trials(data_root / "popu-preview") if t.posture == posture.EMPTY)
    said = replay(popu_preview.trial(recording), measurements=True)
    rows = [m for m in said.measurements if m.name == "feature.pressure"]
    assert rows
    assert not said.events
    assert all(np.isnan(m.values[:, 0]).all() or (m.values[:, 0] == posture.EMPTY).all() for m in rows)


def test_a_night_with_an_overdue_turn_raises_it_and_a_night_in_time_does_not(first_person: list[Trial]) -> None:
    late = pmatdata.night(first_person, OVERDUE, name="late", frame_s=30.0)
    found = [e for e in replay(late).events if e.code == TURN_OVERDUE]
    assert [e.phase for e in found] == ["onset", "clear"]
    assert [(e.subject, e.onset_ns) for e in found[:1]] == [(late.truth[0].subject, late.truth[0].start_ns)]
    in_time = pmatdata.night(first_person, TURNED_IN_TIME, name="in-time", frame_s=30.0)
    assert not [e for e in replay(in_time).events if e.code.startswith("pressure_injury.")]
