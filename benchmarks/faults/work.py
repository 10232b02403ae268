"""What the processes of the pool do. Not in __main__: a spawned process does not import that of a package."""

from __future__ import annotations

from benchmarks.faults.case import Case
from benchmarks.faults.catalogue import FAULT_BY_NAME
from benchmarks.faults.judge import Result, run
from benchmarks.faults.sources import Source

Task = tuple[Case, tuple[str, ...], int]
"""A danger, some faults by name, a seed."""


def found(named: tuple[str, Source]) -> tuple[list[Case], str]:
    """The dangers of a source, and why there are none."""
    name, source = named
    try:
        cases = source()
    except Exception as error:  # noqa: BLE001 - a data set that cannot be read costs no other its runs, and is said
        return [], f"{name}: {type(error).__name__}: {error}"
    return cases, "" if cases else f"{name}: no stream of it raises an alarm on its own"


def runs(task: Task) -> list[Result]:
    """Some faults of one danger."""
    case, names, seed = task
    return [run(case, FAULT_BY_NAME[name], seed) for name in names]
