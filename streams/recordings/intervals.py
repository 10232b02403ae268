"""Intervals: no figure leaves Vigil without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import stats

T = TypeVar("T")


class Figure(NamedTuple):
    """A measured figure: value with its 95 % interval, the unit, how many of what it rests on, and on which data.

    `basis` is a sentence for the reader: data set, people, hours, how it was cross-validated.
    """

    value: float
    low: float
    high: float
    unit: str
    basis: str


def proportion(hits: int, total: int, basis: str) -> Figure:
    """hits/total in percent with the Wilson score interval (Wilson, JASA 1927;22:209). NaN when total is 0."""
    if total == 0:
        return Figure(float("nan"), 0.0, 100.0, "%", basis)
    interval = stats.binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return Figure(100 * hits / total, 100 * float(interval.low), 100 * float(interval.high), "%", basis)


def rate(count: int, exposure: float, unit: str, basis: str) -> Figure:
    """count/exposure with the exact Poisson interval (Garwood, Biometrika 1936;28:437). NaN when exposure is 0."""
    if exposure <= 0:
        return Figure(float("nan"), 0.0, float("inf"), unit, basis)
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = stats.chi2.ppf(0.975, 2 * count + 2) / 2
    return Figure(count / exposure, float(low) / exposure, float(high) / exposure, unit, basis)


def by_person(
    people: Sequence[T], statistic: Callable[[Sequence[T]], float], unit: str, basis: str, *, seed: int = 1, rounds: int = 2000
) -> Figure:
    """`statistic` over all people, with the percentile interval of a bootstrap that resamples people, not samples."""
    value = statistic(people)
    if len(people) < 2:
        return Figure(value, float("nan"), float("nan"), unit, basis)
    rng = np.random.default_rng(seed)
    draws = [statistic([people[i] for i in rng.integers(0, len(people), len(people))]) for _ in range(rounds)]
    finite = np.array([d for d in draws if np.isfinite(d)])
    low, high = np.percentile(finite, [2.5, 97.5]) if finite.size else (float("nan"), float("nan"))
    return Figure(value, float(low), float(high), unit, basis)
