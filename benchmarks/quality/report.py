"""What one run of the suites has found so far: figures, what could not be measured and why, and what failed.

A suite is a tuple of parts, a part is one data set. A part that fails loses the figures it had not recorded yet and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from streams.recordings.intervals import Figure, proportion, rate

T = TypeVar("T")
Say = Callable[[str], None]

BUDGET_NOTE: Final = "at most {} records of each person or room"


def interval(figure: Figure) -> str:
    """The 95 % interval as people read it; a dash where one person or place alone gives none."""
    return "–" if math.isnan(figure.low) or math.isnan(figure.high) else f"{figure.low:.4g} … {figure.high:.4g}"


def limits(bound: Mapping[str, float]) -> str:
    """A floor as people read it."""
    return " ".join(f"{sign} {bound[side]}" for side, sign in (("min", "≥"), ("max", "≤")) if side in bound)


def of_people(count: int) -> str:
    """How many people a figure rests on, for its basis."""
    return "1 person (no interval over people)" if count == 1 else f"{count} people"


class Part(NamedTuple):
    """One data set of a suite.

    `name` is its place in the keys of its figures, `folder` where it lies below the root, `owed` the metrics that are measured or
    said not to be, and why. `measure` gets the folder and records what it finds.
    """

    name: str
    folder: str
    owed: tuple[str, ...]
    measure: Callable[[Path, Findings], None]


class Report:
    """All of a run, in `path` (JSON) after every change. `records` is the budget: at most so many records of each person or room."""

    def __init__(self, path: Path, *, records: int | None = None) -> None:
        self.path = path
        self.records = records
        self.figures: dict[str, Figure] = {}
        self.not_measured: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.left_out: dict[str, list[str]] = {}
        self.below_floor: list[str] = []
        self.finished = False
        self.write()

    def write(self) -> None:
        """Put the file in place as a whole: a reader never sees half of it."""
        flat: dict[str, Any] = {}
        for key, figure in self.figures.items():
            flat[key] = _number(figure.value)
            flat[f"{key}.low"], flat[f"{key}.high"] = _number(figure.low), _number(figure.high)
        flat |= {
            "basis": {key: figure.basis for key, figure in self.figures.items()},
            "not_measured": self.not_measured,
            "failed": self.failed,
            "left_out": self.left_out,
            "below_floor": self.below_floor,
            "finished": self.finished,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        draft.write_text(json.dumps(flat, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(self.path)

    def fail(self, name: str, why: str) -> None:
        """The suite or part `name` ended early; the exit code will say so."""
        self.failed[name] = why
        self.write()

    def run(self, suite: str, part: Part, root: Path, say: Say) -> None:
        """Measure one part; whatever it raises is recorded, never passed on."""
        key = f"{suite}.{part.name}"
        folder = root / part.folder
        found = Findings(self, key, say)
        if not folder.exists():
            found.close(part.owed, f"{part.folder} is not among the data sets")
            return
        try:
            part.measure(folder, found)
        except Exception as error:  # noqa: BLE001 - a defect in one part must not cost the figures of the others
            why = f"{type(error).__name__}: {error}"
            say(f"{part.name} failed: {why}\n{traceback.format_exc()}")
            self.fail(key, why)
            found.close(part.owed, f"failed: {why}")
            return
        if found.broken and not any(name.startswith(f"{key}.") for name in self.figures):
            why = f"nothing could be measured, and {len(found.broken)} could not be read, the first is {found.broken[0]}"
            self.fail(key, why)
            found.close(part.owed, why)
            return
        found.close(part.owed, found.first_left_out() or f"{part.folder} has nothing to measure it on")


class Findings:
    """What one part has found. Metrics are named without suite and data set."""

    def __init__(self, report: Report, key: str, say: Say) -> None:
        self._report = report
        self._key = key
        self.say = say
        self.broken: list[str] = []

    def each(self, items: Sequence[T], name: Callable[[T], str], of: str = "") -> Iterator[T]:
        """The items, each announced as "<of> <name>, n of m"."""
        for number, item in enumerate(items, 1):
            self.say(f"{of or self._key.partition('.')[2]} {name(item)}, {number} of {len(items)}")
            yield item

    def read(self, name: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """What `function` reads; None when it cannot, which is recorded: one file of somebody else must not end the run."""
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - readers of foreign formats raise whatever they like on a damaged file
            self.unreadable(name, error)
            return None

    def unreadable(self, name: str | Path, error: Exception) -> None:
        """`name` could not be read. A file that is not there is a missing part, not a broken one."""
        label = name.name if isinstance(name, Path) else name
        text = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {text[0] if text else 'no reason given'}"
        if not isinstance(error, FileNotFoundError):
            self.broken.append(f"{label}: {why}")
        self.leave_out(label, why)

    def leave_out(self, name: str, why: str) -> None:
        """`name` was read and cannot be judged."""
        entry = f"{name}: {why}"
        listed = self._report.left_out.setdefault(self._key, [])
        if entry not in listed:
            listed.append(entry)
            self.say(f"left out: {entry}")

    def first_left_out(self) -> str:
        """Why the first of what was left out was; "" when nothing was."""
        listed = self._report.left_out.get(self._key, [])
        return f"left out: {listed[0]}" + (f" and {len(listed) - 1} more" if len(listed) > 1 else "") if listed else ""

    def few(self, items: Sequence[T]) -> list[T]:
        """All items, or as many as the budget allows, spread evenly from the first to the last."""
        most = self._report.records
        if most is None or len(items) <= most:
            return list(items)
        return [items[i * len(items) // most] for i in range(most)]

    @property
    def records_max(self) -> int | None:
        """The budget; None is no limit."""
        return self._report.records

    def figure(self, metric: str, figure: Figure) -> None:
        """Record a figure now. A value that is not finite stays one: it is there and could not be computed, which misses a floor."""
        notes = [figure.basis]
        left_out = len(self._report.left_out.get(self._key, []))
        if left_out:
            notes.append(f"{left_out} left out ({self._report.left_out[self._key][0]})")
        if self._report.records is not None:
            notes.append(BUDGET_NOTE.format(self._report.records))
        self._report.figures[f"{self._key}.{metric}"] = figure._replace(basis="; ".join(notes))
        self._report.write()

    def absent(self, metric: str, why: str) -> None:
        """There is nothing here to measure `metric` on."""
        self._report.not_measured[f"{self._key}.{metric}"] = why
        self._report.write()

    def share(self, metric: str, hits: int, total: int, basis: str, why: str) -> None:
        """`hits` of `total` in percent; not measured (`why`) when there is nothing to hit."""
        if total:
            self.figure(metric, proportion(hits, total, basis))
        else:
            self.absent(metric, why)

    def per(self, metric: str, count: int, exposure: float, unit: str, basis: str, why: str) -> None:
        """`count` in `exposure`; not measured (`why`) when no time was watched."""
        if exposure > 0:
            self.figure(metric, rate(count, exposure, unit, basis))
        else:
            self.absent(metric, why)

    def close(self, owed: Sequence[str], why: str) -> None:
        """What is owed and was neither measured nor said to be absent, was not measured."""
        for metric in owed:
            key = f"{self._key}.{metric}"
            if key not in self._report.figures:
                self._report.not_measured.setdefault(key, why)
        self._report.write()


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
