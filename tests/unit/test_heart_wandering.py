"""A value that wanders about its limit is one condition: announced a few times, at once when it begins, and again when it is worse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from alerts.book import AlertBook
from alerts.model import Transition
from detectors.heart.detector import HeartDetector
from engine.block import NO_SEQ, Block
from engine.engine import Engine
from engine.frame import NS_PER_S, Float64
from engine.registry import Binding, Registry, RegistryData
from streams.pipeline.assembly import HomePolicy

T0_NS = 1_767_571_200 * NS_PER_S
HOURS = 2
Course = Callable[[Float64], Float64]


def announced(values: Float64, channel: int) -> list[Transition]:
    """What the home is told about one reading a second, seconds after T0."""
    engine = Engine([HeartDetector(capacity=1)], Registry(RegistryData(bindings=(Binding("v1", "resident/a", "h/w"),))))
    book = AlertBook(HomePolicy())
    told: list[Transition] = []
    for second, value in enumerate(values):
        row = np.full((1, 1, 6), np.nan, np.float32)
        row[0, 0, channel] = value
        t_ns = T0_NS + second * NS_PER_S
        out = engine.step(
            Block("vitals", ("v1",), np.array([t_ns]), np.array([NO_SEQ]), 1.0, row, np.zeros(1, np.uint8), (1, 6)), t_ns + NS_PER_S
        )
        steps = [step for event in out.events for step in book.apply(event)] + book.tick(t_ns + NS_PER_S)
        told += [step for step in steps if step.notify and step.to_state == "firing"]
    return told


def about(limit: float, swing: float, period_s: float) -> Float64:
    t = np.arange(HOURS * 3600.0)
    return np.asarray(np.round(limit + swing * np.sin(2 * np.pi * t / period_s), 1))


CASES = [(0, 130.0, 12.0), (0, 40.0, 9.0), (1, 8.5, 4.0), (1, 24.5, 5.0), (2, 92.0, 4.0)]


@pytest.mark.parametrize("period_s", [180.0, 240.0, 360.0, 600.0, 900.0])
@pytest.mark.parametrize(("channel", "limit", "swing"), CASES)
def test_a_wandering_value_is_announced_a_few_times(channel: int, limit: float, swing: float, period_s: float) -> None:
    told = announced(about(limit, swing, period_s), channel)
    assert len(told) <= 3 * HOURS
    assert told or (channel == 1 and period_s < 360)  # breathing must stay beyond its limit for two minutes


def test_the_first_announcement_comes_as_early_as_ever_and_a_second_episode_hours_later_is_new() -> None:
    values = np.full(HOURS * 3600, 75.0)
    values[100:400] = 150.0
    values[6000:6300] = 150.0
    told = announced(values, 0)
    assert [round((step.at_ns - T0_NS) / NS_PER_S) for step in told] == [131, 6031]


def test_what_becomes_worse_while_it_wanders_is_announced() -> None:
    """Oxygen about 92 % for an hour, then down to 80 in one of the dips."""
    values = about(92.0, 4.0, 240.0)
    values[4500:4680] = 80.0
    plain = [step.at_ns for step in announced(about(92.0, 4.0, 240.0), 2)]
    worse = [(step.at_ns - T0_NS) // NS_PER_S for step in announced(values, 2)]
    assert len(worse) == len(plain) + 1
    assert 4500 <= worse[-1] <= 4565  # low for a minute by then


def test_a_condition_that_came_and_went_once_clears_as_early_as_ever() -> None:
    detector = HeartDetector(capacity=1)
    engine = Engine([detector], Registry(RegistryData(bindings=(Binding("v1", "resident/a", "h/w"),))))
    cleared = []
    values = [150.0 if 100 <= s < 200 or 1000 <= s < 1100 else 75.0 for s in range(2000)]
    for second, value in enumerate(values):
        row = np.array([[[value, np.nan, np.nan, np.nan, np.nan, np.nan]]], np.float32)
        t_ns = T0_NS + second * NS_PER_S
        block = Block("vitals", ("v1",), np.array([t_ns]), np.array([NO_SEQ]), 1.0, row, np.zeros(1, np.uint8), (1, 6))
        cleared += [round((e.decided_ns - T0_NS) / NS_PER_S) for e in engine.step(block, t_ns + NS_PER_S).events if e.phase == "clear"]
    assert cleared == [260, 1340]
