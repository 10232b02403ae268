"""Results as they become known, and what they come to: counts by fault and detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from benchmarks.faults.catalogue import FAULTS
from benchmarks.faults.fault import Fault
from benchmarks.faults.judge import GOOD, Outcome, Result

ORDER: Final = (Outcome.ALARM, Outcome.CALL, Outcome.TOLD, Outcome.TOLD_ONLY, Outcome.LATE, Outcome.UNTRUE, Outcome.SILENT)
"""From good to bad."""


class Writer:
    """Writes each result as a line of JSON as soon as it is known."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("wb")
        self.results: list[Result] = []

    def add(self, results: Iterable[Result]) -> None:
        """Keep and write."""
        for result in results:
            self.results.append(result)
            self._file.write(msgspec.json.encode(result) + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def loaded(path: Path) -> list[Result]:
    """What a Writer wrote."""
    return [msgspec.json.decode(line, type=Result) for line in path.read_bytes().splitlines()]


def matrix(results: Sequence[Result]) -> tuple[list[str], dict[str, dict[str, Counter[Outcome]]]]:
    """Columns ("heart: ecg", …), and for each fault and column how often each outcome was."""
    columns = sorted({column(result) for result in results})
    rows: dict[str, dict[str, Counter[Outcome]]] = {fault.name: {} for fault in FAULTS}
    for result in results:
        rows.setdefault(result.fault, {}).setdefault(column(result), Counter())[result.outcome] += 1
    return columns, {name: cells for name, cells in rows.items() if cells}


def column(result: Result) -> str:
    """Detector and kind of stream."""
    return f"{result.detector}: {result.kind}"


def failures(results: Iterable[Result]) -> list[Result]:
    """Runs in which nobody was called in time and nobody was told the true reason."""
    return [result for result in results if result.outcome not in GOOD]


def totals(results: Sequence[Result]) -> Counter[Outcome]:
    """How often each outcome was."""
    return Counter(result.outcome for result in results)


def sentence(results: Sequence[Result]) -> str:
    """The whole in one sentence."""
    counts = totals(results)
    cases = len({result.case for result in results})
    faults = len({result.fault for result in results})
    false = sum(bool(result.false) for result in results)
    shares = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in ORDER if counts[outcome])
    return f"{len(results)} runs of {cases} dangers through {faults} faults: {shares}; {false} with a false call besides"


def demanded(fault: Fault) -> str:
    """What must come of a fault."""
    if fault.costless:
        return "the alarm"
    return f"the alarm, {'a call, ' if fault.call else ''}or told: {', '.join(sorted(fault.reasons))}"
