"""The watch ledger closes, and its coverage is that of a count by hand, over a simulated day of sixty residents with random faults."""

from __future__ import annotations

import numpy as np
import pytest

from engine.block import QUALITY_POOR, Block
from engine.engine import Engine
from engine.frame import NS_PER_S
from engine.kinds import KINDS, channel
from engine.registry import Binding, Registry, RegistryData
from engine.watch import Hazard
from streams.pipeline.assembly import detectors

RESIDENTS = 60
EVERY_S = 20
DAY_S = 86_400
T0 = 1_767_571_200 * NS_PER_S  # a midnight
PATIENCE_S = 120
LOOK_S = 10
FAULTS = ("silent", "no_value", "no_pulse", "zero", "poor")
QUANTITIES = {Hazard.HEART: ("heart_rate_bpm",), Hazard.BREATHING: ("respiration_per_min", "spo2_percent")}


def faults(rng: np.random.Generator) -> list[tuple[float, float, str]]:
    """(begin, end, fault) of one device's day, with ten minutes or more between them."""
    found, at_s = [], float(rng.uniform(600, 40_000))
    while at_s < DAY_S:
        lasts_s = float(rng.choice([40, 90, 300, 1800, 7200]) * rng.uniform(0.8, 1.2))
        found.append((at_s, at_s + lasts_s, str(rng.choice(FAULTS))))
        at_s += lasts_s + float(rng.uniform(600, 20_000))
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_watching_and_blind_are_the_time_bound_and_coverage_is_that_of_a_count_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    registry = RegistryData(bindings=tuple(Binding(f"d-{i}", f"resident/{i}", "w") for i in range(RESIDENTS)))
    engine = Engine(detectors(only=("heart",)), Registry(registry))
    engine.advance(T0)
    stories = [faults(rng) for _ in range(RESIDENTS)]
    columns = {name: channel("vitals", name) for names in QUANTITIES.values() for name in names}
    judged: dict[tuple[int, Hazard], list[int]] = {(i, hazard): [] for i in range(RESIDENTS) for hazard in QUANTITIES}
    for t_s in range(0, DAY_S, EVERY_S):
        told = [next((kind for begin, end, kind in story if begin <= t_s < end), "") for story in stories]
        here = [i for i in range(RESIDENTS) if told[i] != "silent"]
        values = np.full((len(here), 1, len(KINDS["vitals"].channels)), np.nan, np.float32)
        for column in columns.values():
            values[:, 0, column] = rng.uniform(15, 90, len(here))
        quality = np.zeros(len(here), np.uint8)
        for row, i in enumerate(here):
            if told[i] == "no_value":
                values[row] = np.nan
            elif told[i] == "no_pulse":
                values[row, 0, columns["heart_rate_bpm"]] = np.nan
            elif told[i] == "zero":
                values[row, 0, columns["heart_rate_bpm"]] = values[row, 0, columns["spo2_percent"]] = 0
                values[row, 0, columns["respiration_per_min"]] = np.nan
            elif told[i] == "poor":
                quality[row] = QUALITY_POOR
            if told[i] in {"", "no_pulse"}:
                for hazard in QUANTITIES if told[i] == "" else (Hazard.BREATHING,):
                    judged[i, hazard].append(t_s + 1)
        t0_ns = np.full(len(here), T0 + t_s * NS_PER_S)
        seq = np.full(len(here), -1, np.int64)
        block = Block("vitals", tuple(f"d-{i}" for i in here), t0_ns, seq, 1 / EVERY_S, values, quality, (1, values.shape[2]))
        engine.step(block, T0 + (t_s + 1) * NS_PER_S)
    end_s = DAY_S - LOOK_S
    engine.advance(T0 + end_s * NS_PER_S)
    seconds = engine.watching.coverage.seconds()
    for (i, hazard), times in judged.items():
        watching, blind = seconds[f"resident/{i}", hazard]
        first = -(-times[0] // LOOK_S) * LOOK_S
        assert watching + blind == end_s - first
        gaps = [until - begin for begin, until in zip(times, [*times[1:], end_s], strict=True) if until - begin > PATIENCE_S]
        assert blind == pytest.approx(sum(gaps), abs=2 * LOOK_S * len(gaps)), (i, hazard)
    assert any(blind > 3600 for _, blind in seconds.values())


def test_a_care_free_hour_has_full_coverage() -> None:
    engine = Engine(detectors(only=("heart",)), Registry(RegistryData(bindings=(Binding("d", "resident/a", "w"),))))
    engine.advance(T0)
    for t_s in range(0, 3600, EVERY_S):
        values = np.full((1, 1, len(KINDS["vitals"].channels)), np.nan, np.float32)
        values[0, 0, 0] = 70
        block = Block(
            "vitals",
            ("d",),
            np.array([T0 + t_s * NS_PER_S]),
            np.array([-1]),
            1 / EVERY_S,
            values,
            np.zeros(1, np.uint8),
            (1, values.shape[2]),
        )
        engine.step(block, T0 + (t_s + 1) * NS_PER_S)
    (measured,) = engine.watching.coverage.measured()
    assert measured.values[0, measured.columns.index("heart_percent")] == 100
