"""The simulator's signals: are they what a body, a bed and a room would give?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import find_peaks

from engine.block import QUALITY_POOR, Block
from engine.kinds import KINDS
from simulator.bedside import COLUMNS, ROWS, body_map
from simulator.motion import FALLS
from simulator.rooms import smoulder, steam
from simulator.routine import Posture
from simulator.scenario import KINDS_ALL, Incident, Scenario
from simulator.script import RHYTHMS
from simulator.world import World

NOON_NS = 1_760_068_800_000_000_000  # 12:00 on the ward
MIDNIGHT_NS = NOON_NS + 12 * 3600 * 10**9


def lived(scenario: Scenario, seconds: int) -> list[list[Block]]:
    world = World(scenario)
    return [world.blocks_at(second) for second in range(seconds)]


def signal(seconds: list[list[Block]], kind: str) -> np.ndarray:
    """All chunks of a kind joined: (devices, samples, channels)."""
    return np.concatenate([next(b for b in blocks if b.kind == kind).samples for blocks in seconds], axis=1)


def r_peaks(ecg_mv: np.ndarray) -> np.ndarray:
    return find_peaks(ecg_mv, height=0.55 * np.percentile(ecg_mv, 99.5), distance=25)[0]


@pytest.mark.parametrize(("kind", "level"), [("tachycardia", 150.0), ("bradycardia", 34.0), ("ventricular_tachycardia", 180.0)])
def test_r_peaks_follow_the_commanded_rate(kind: str, level: float) -> None:
    incident = Incident(kind, at_s=0, who=0, duration_s=200, level=level)
    ecg = signal(lived(Scenario(residents=1, kinds=("ecg",), incidents=(incident,), start_ns=MIDNIGHT_NS), 100), "ecg")[0, 40 * 125 :, 0]
    assert r_peaks(ecg).size == pytest.approx(level, rel=0.04)


def test_atrial_fibrillation_is_irregular_and_sinus_rhythm_is_not() -> None:
    incident = Incident("atrial_fibrillation", at_s=0, who=0, duration_s=200)
    ecg = signal(lived(Scenario(residents=2, seed=3, kinds=("ecg",), incidents=(incident,), start_ns=MIDNIGHT_NS), 80), "ecg")[
        :, 125 * 10 :, 0
    ]
    spread = [np.std(np.diff(r_peaks(lead))) / np.mean(np.diff(r_peaks(lead))) for lead in ecg]
    assert spread[0] > 0.12
    assert spread[1] < 0.10


@pytest.mark.parametrize("kind", ["asystole", "ventricular_fibrillation"])
def test_no_beat_while_the_heart_stands_still_or_fibrillates(kind: str) -> None:
    incident = Incident(kind, at_s=30, who=0, duration_s=20)
    seconds = lived(Scenario(residents=1, kinds=("ecg", "ppg", "vitals", "rr_interval"), incidents=(incident,), start_ns=MIDNIGHT_NS), 60)
    ecg = signal(seconds, "ecg")[0, :, 0]
    during = ecg[125 * 31 : 125 * 50]
    if kind == "asystole":
        assert np.abs(during).max() < 0.35
    else:
        assert during.std() > 0.2
    assert not any(b.kind == "rr_interval" for blocks in seconds[31:50] for b in blocks)
    vitals = signal(seconds[33:49], "vitals")
    assert np.isnan(vitals[:, :, 0]).all()
    assert r_peaks(ecg[125 * 51 :]).size >= 5  # the heart goes on afterwards


def test_rr_intervals_are_the_distances_of_the_beats() -> None:
    seconds = lived(Scenario(residents=1, seed=5, kinds=("ecg", "rr_interval"), start_ns=MIDNIGHT_NS), 60)
    rr_ms = np.concatenate([b.samples[0, :, 0] for blocks in seconds for b in blocks if b.kind == "rr_interval"])
    peaks = r_peaks(signal(seconds, "ecg")[0, :, 0]) * 8.0
    assert rr_ms.size == pytest.approx(peaks.size, abs=1)
    assert np.median(rr_ms) == pytest.approx(np.median(np.diff(peaks)), rel=0.02)


def test_gravity_at_rest_and_a_dip_before_the_impact() -> None:
    incidents = tuple(Incident("fall", at_s=30.2 + i / 7, who=i, duration_s=60, variant=variant) for i, variant in enumerate(FALLS))
    accel = signal(lived(Scenario(residents=6, seed=2, kinds=("accel",), incidents=incidents, start_ns=MIDNIGHT_NS), 60), "accel")
    size = np.linalg.norm(accel, axis=2)
    for who in range(3):
        peak = int(size[who].argmax())
        assert 30.2 < peak / 50 < 33.0
        assert size[who, peak] > 2.3
        assert size[who, peak - 60 : peak].min() < 0.75
        still = size[who, peak + 150 : peak + 900]
        assert still.mean() == pytest.approx(1.0, abs=0.01)
        assert still.std() < 0.05
        before, after = accel[who, peak - 200 : peak - 100].mean(0), accel[who, peak + 200 : peak + 300].mean(0)
        assert before @ after / np.linalg.norm(before) / np.linalg.norm(after) < 0.8  # the arm points elsewhere
    assert size[3:].mean() == pytest.approx(1.0, abs=0.01)
    assert size[3:].max() < 2.0


@pytest.mark.parametrize("posture", list(Posture))
def test_body_map_is_one_load_with_breathing_that_only_moves_it(posture: Posture) -> None:
    load, breath = body_map(posture, 1.0, 0.0)
    assert load.sum() == pytest.approx(1.0)
    assert breath.sum() == pytest.approx(0.0, abs=1e-12)
    assert load.min() >= 0


def test_left_is_right_mirrored_and_knees_point_to_the_arms() -> None:
    right = body_map(Posture.RIGHT, 1.0, 1.0)[0].reshape(ROWS, COLUMNS)
    left = body_map(Posture.LEFT, 1.0, -1.0)[0].reshape(ROWS, COLUMNS)
    np.testing.assert_allclose(left, right[:, ::-1])
    columns = np.arange(COLUMNS)
    middle = (right * columns).sum(1) / right.sum(1)
    assert middle[44] > middle[20] + 4


def test_mattress_weighs_the_body_however_it_lies_and_nothing_when_empty() -> None:
    turns = tuple(
        Incident("no_turn", at_s=at, who=0, duration_s=30, variant=side) for at, side in ((0, "supine"), (30, "left"), (60, "right"))
    )
    fall = Incident("fall", at_s=115, who=0, duration_s=60)
    scenario = Scenario(residents=1, kinds=("pressure_map", "bed"), incidents=(*turns, fall), start_ns=MIDNIGHT_NS)
    seconds = lived(scenario, 130)
    load = signal(seconds, "pressure_map")[0].sum(axis=1)
    assert load[5:90].std() / load[5:90].mean() < 0.02
    assert load[110:].max() < 0.05 * load[:90].mean()
    in_bed = signal(seconds, "bed")[0, :, 0]
    assert in_bed[:90].min() == 1
    assert in_bed[110:].max() == 0


def test_smouldering_plug_runs_from_current_to_heat_and_steam_is_harmless() -> None:
    t = np.arange(0, 300.0)
    fire = smoulder(t, 300)
    first = [
        float(t[v > level][0]) for v, level in ((fire.residual_ma, 280), (fire.cable_k, 40), (fire.smoke_od_per_m, 0.03), (fire.co_ppm, 60))
    ]
    assert first == sorted(first)
    assert fire.temperature_k[int(first[-1])] < 10 < fire.temperature_k[-1]
    wet = steam(t, 300, 0.02)
    assert wet.humidity_percent.max() > 30
    assert wet.co_ppm.max() == wet.residual_ma.max() == 0
    assert wet.temperature_k.max() < 8


def test_off_body_and_lead_off_are_flagged_by_the_device_itself() -> None:
    incidents = (Incident("off_body", at_s=5, who=0, duration_s=5), Incident("lead_off", at_s=5, who=1, duration_s=5))
    seconds = lived(Scenario(residents=2, incidents=incidents, start_ns=MIDNIGHT_NS), 15)
    flagged = [{(b.kind, d) for b in blocks for d, q in zip(b.devices, b.quality, strict=True) if q & QUALITY_POOR} for blocks in seconds]
    assert flagged[4] == flagged[10] == set()
    assert flagged[7] == {("accel", "wb-001"), ("ppg", "wb-001"), ("vitals", "wb-001"), ("ecg", "patch-002")}


def test_every_sample_is_one_that_a_working_sensor_may_send() -> None:
    rooms = {"smoulder", "steam"}
    kinds = ["sos", "near_fall", "off_body", "lead_off", "fall", *RHYTHMS, "spo2_low", "no_turn", "moisture", *sorted(rooms)]
    incidents = tuple(Incident(kind, at_s=20 + 3 * i, who=i // 2 if kind in rooms else i, duration_s=20) for i, kind in enumerate(kinds))
    seen: set[str] = set()
    for blocks in lived(Scenario(residents=2 * len(kinds), kinds=KINDS_ALL, incidents=incidents, start_ns=NOON_NS), 90):
        for block in blocks:
            kind = KINDS[block.kind]
            seen.add(block.kind)
            ranges = [(c.low, c.high) for c in kind.channels] or [kind.wide]
            values = block.samples.astype(float)
            for channel, (low, high) in enumerate(ranges):
                known = values[:, :, channel][~np.isnan(values[:, :, channel])]
                assert ((known >= low) & (known <= high)).all(), (block.kind, channel)
            assert not np.isinf(values).any()
            assert block.samples.flags.c_contiguous
            assert block.samples.dtype == kind.dtype
            assert len(block.devices) == len(set(block.devices)) == block.samples.shape[0]
    assert seen >= set(KINDS_ALL) - {"door"}


def test_people_sleep_at_night_and_get_up_by_day() -> None:
    in_bed = {}
    for name, start in (("night", MIDNIGHT_NS + 2 * 3600 * 10**9), ("day", NOON_NS - 2 * 3600 * 10**9)):
        world = World(Scenario(residents=200, kinds=("bed",), start_ns=start))
        in_bed[name] = world.blocks_at(0)[0].samples[:, 0, 0].mean()
    assert in_bed["night"] > 0.85
    assert 0.2 < in_bed["day"] < 0.55
